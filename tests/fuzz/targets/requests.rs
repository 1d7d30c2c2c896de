//! What clients send to `perk serve`.

use perk::serve::RequestBody;

use super::room::texts;
use super::{Form, Target};

pub const TARGETS: [Target; 3] = [
    Target {
        name: "chat-request",
        file: "request",
        form: Form::Json,
        seeds: || {
            texts(&[
                r#"{"model":"base","messages":[{"role":"system","content":"a"},{"role":"user","content":"Where?"}]}"#,
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"Où?"}]}],"stop":["a","b"],
                   "temperature":0.5,"top_p":0.9,"seed":-3,"max_completion_tokens":7,"stream":true,
                   "stream_options":{"include_usage":true},"n":1,"logit_bias":{},"tools":[],"user":"u"}"#,
            ])
        },
        read: |data| RequestBody::Chat.check(data),
    },
    Target {
        name: "completion-request",
        file: "request",
        form: Form::Json,
        seeds: || {
            texts(&[
                r#"{"model":"base","prompt":"Once upon"}"#,
                r#"{"model":"m","prompt":["Once"],"max_tokens":3,"stop":".","echo":false,"presence_penalty":0.0}"#,
            ])
        },
        read: |data| RequestBody::Completion.check(data),
    },
    Target {
        name: "document-request",
        file: "request",
        form: Form::Json,
        seeds: || {
            texts(&[
                r#"{"text":"Mary went to the garden.","name":"a story.txt"}"#,
                r#"{"documents":["A.","B."]}"#,
            ])
        },
        read: |data| RequestBody::Document.check(data),
    },
];
