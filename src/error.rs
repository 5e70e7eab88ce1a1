//! The one error of the library. Its [`Status`] is the number a C host sees; its message says what was
//! wrong, where, and what was expected.

use std::fmt;

/// What kind of thing went wrong; the same numbers as `fqgan_status` in `include/fqgan.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// The caller passed something that cannot be: a wrong size, a null pointer, an unknown enum value.
    InvalidArgument = 1,
    /// The operating system refused to read or write.
    Io = 2,
    /// A file is not what it should be.
    Format = 3,
    /// Valid, but not something this build, device or type can do.
    Unsupported = 4,
    /// Memory, or the memory limit that the host set, does not suffice.
    OutOfMemory = 5,
    /// No driver, no such GPU, or a launch failed.
    Device = 6,
    /// The host's progress callback asked to stop.
    Cancelled = 7,
    /// A bug of this library.
    Internal = 8,
}

/// An error with a message for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    message: String,
}

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $status:ident;)*) => {
        $($(#[$doc])* #[cold] pub fn $name(message: impl Into<String>) -> Error {
            Error { status: Status::$status, message: message.into() }
        })*
    };
}

impl Error {
    constructors! {
        /// An [`Status::InvalidArgument`].
        invalid => InvalidArgument;
        /// An [`Status::Format`].
        format => Format;
        /// An [`Status::Unsupported`].
        unsupported => Unsupported;
        /// An [`Status::OutOfMemory`].
        out_of_memory => OutOfMemory;
        /// An [`Status::Device`].
        device => Device;
        /// An [`Status::Cancelled`].
        cancelled => Cancelled;
        /// An [`Status::Internal`].
        internal => Internal;
    }

    /// An [`Status::Io`]: what was being done, and the system's word on it.
    #[cold]
    pub fn io(what: impl fmt::Display, cause: &std::io::Error) -> Error {
        Error { status: Status::Io, message: format!("{what}: {cause}") }
    }

    /// The kind of error.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What was wrong, where, and what was expected.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same error with the place put before it: `context: message`.
    #[cold]
    pub fn context(mut self, context: impl fmt::Display) -> Error {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Puts the place before the message of a failed result.
pub trait Context<T> {
    /// `place: message`; the closure runs on failure only.
    fn context<D: fmt::Display>(self, place: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context<D: fmt::Display>(self, place: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| e.context(place()))
    }
}
