//! The table of methods as ubus shows it.

use crate::api::METHODS;
use crate::api::methods::Kind;
use crate::proto::ubus::{MethodType, Signature, blobmsg};

/// The signature of the object.
pub fn signature() -> Signature {
    let typed = |method: &'static crate::api::Method| MethodType {
        name: method.name,
        arguments: method.params.iter().map(|param| (param.name, wire(param.kind))).collect(),
    };
    Signature(METHODS.iter().map(typed).collect())
}

/// The type that is announced for an argument. Others are read as well, such as a number from a text.
const fn wire(kind: Kind) -> blobmsg::Kind {
    match kind {
        Kind::Text => blobmsg::Kind::Text,
        Kind::Number => blobmsg::Kind::Int32,
    }
}
