//! A piece of text with its place in a file, so that a complaint can point at it.

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Spanned<T> {
    pub value: T,
    /// Line in the file, from 1; 0 for a default that stands in no file.
    pub line: usize,
    /// First character of the value, an opening quote included, from 1, in characters (not bytes).
    pub column: usize,
}

impl<T> Spanned<T> {
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: f(self.value), line: self.line, column: self.column }
    }
}
