//! Answers for programs: requests of many at once, stepped together.

pub mod chat;
mod request;

pub use request::{
    Chat, Finish, Format, Input, Request, RequestError, Summary, TokenInfo, Tool, ToolChoice,
    Update,
};
