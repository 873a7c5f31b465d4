//! Answers for programs: requests of many at once, stepped together.

mod request;

pub use request::{
    Chat, Finish, Format, Input, Request, RequestError, Summary, TokenInfo, Tool, ToolChoice,
    Update,
};
