//! Prompts to measure guesses with: how many come true depends on the text.

/// Stories, lists, code, letters and explanations.
pub const PROMPTS: [&str; 9] = [
    "Tell me of a journey.",
    "Why is the sky blue?",
    "Write a short story about a fox and a train.",
    "List ten facts about whales.",
    "Explain how a heat pump works to a ten year old.",
    "Write a Python function that merges two sorted lists, with comments.",
    "What are the pros and cons of nuclear energy?",
    "Write an email to my landlord about a broken heater.",
    "What is the difference between TCP and UDP?",
];
