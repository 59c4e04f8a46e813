//! What an error tells a program that reads it: its kind, and the file and the element that it is about.
//!
//! An error is a chain of sentences. Four types of link carry more than their sentence, wherever they are in the chain:
//! [`Failure`] the kind, [`InFile`] the file, [`NoFile`] a file that is not there, [`InElement`] the element. [`Told`]
//! collects them.

use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use anyhow::Error;

/// What kind of failure it is. The names are an interface: see docs/python.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line is wrong.
    Usage,
    /// A file or folder is not there.
    Missing,
    /// The system refused to read or write.
    Io,
    /// A file is no HDF5 file or Zarr store, or is damaged.
    Unreadable,
    /// A file has no column, category or cell of a name that the command line gives.
    Key,
    /// What a file holds does not go with what the command line asks for.
    Value,
    /// There is not enough memory.
    Memory,
    /// An output, read back, is not what was meant.
    Verify,
    /// Files are not sound, as `check` finds.
    Unsound,
    /// A signal ended the run.
    Interrupted,
    /// An assumption of the program itself is wrong.
    Bug,
    /// Anything else.
    Failed,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Usage => "usage",
            Kind::Missing => "missing",
            Kind::Io => "io",
            Kind::Unreadable => "unreadable",
            Kind::Key => "key",
            Kind::Value => "value",
            Kind::Memory => "memory",
            Kind::Verify => "verify",
            Kind::Unsound => "unsound",
            Kind::Interrupted => "interrupted",
            Kind::Bug => "bug",
            Kind::Failed => "failed",
        }
    }

    /// The kind of an error: that of the system where the system is the cause, else what the chain says of itself.
    pub fn of(error: &Error) -> Kind {
        if error.downcast_ref::<NoFile>().is_some() {
            return Kind::Missing;
        }
        let said = error.downcast_ref::<Failure>().map(|failure| failure.0);
        let system = error.downcast_ref::<io::Error>().map(io::Error::kind);
        match (said, system) {
            (Some(Kind::Unreadable) | None, Some(ErrorKind::NotFound)) => Kind::Missing,
            (Some(Kind::Unreadable) | None, Some(ErrorKind::OutOfMemory)) => Kind::Memory,
            (None, Some(_)) => Kind::Io,
            (Some(kind), _) => kind,
            (None, None) => Kind::Failed,
        }
    }
}

/// What the process ends with.
pub fn exit_code(error: &Error) -> u8 {
    match Kind::of(error) {
        Kind::Usage => 2,
        _ => 1,
    }
}

/// A sentence that knows what kind of failure it tells of.
#[derive(Debug)]
pub struct Failure(pub Kind, pub String);

/// A sentence that ends with the file it is about, as "Cannot slice a.h5ad".
#[derive(Debug)]
pub struct InFile(pub &'static str, pub PathBuf);

/// A sentence about a file that is not there.
#[derive(Debug)]
pub struct NoFile {
    pub file: PathBuf,
    pub said: String,
}

/// A sentence that ends with the element it is about.
#[derive(Debug)]
pub struct InElement {
    doing: &'static str,
    path: String,
}

/// "Read 'layers/counts'", for a path from the root of a file.
pub fn in_element(doing: &'static str, path: impl Display) -> InElement {
    let path = path.to_string();
    InElement { doing, path }
}

impl Failure {
    /// Of options that do not go together.
    pub fn usage(what: String) -> Failure {
        Failure(Kind::Usage, what)
    }

    /// Of a name that the command line gives, and a file does not have.
    pub fn key(what: String) -> Failure {
        Failure(Kind::Key, what)
    }

    /// Of values that do not go with what the command line asks for.
    pub fn value(what: String) -> Failure {
        Failure(Kind::Value, what)
    }

    pub fn memory(what: String) -> Failure {
        Failure(Kind::Memory, what)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(&self.1)
    }
}

impl std::error::Error for Failure {}

impl Display for InFile {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1.display())
    }
}

impl Display for NoFile {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl std::error::Error for NoFile {}

impl Display for InElement {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{} '{}'", self.doing, self.path)
    }
}

/// What an error tells a program.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub kind: Kind,
    pub file: Option<PathBuf>,
    pub element: Option<String>,
}

impl Told {
    /// Of several files or elements in the chain, the first: it is in the input, or at its root.
    pub fn by(error: &Error) -> Told {
        Told {
            kind: Kind::of(error),
            file: file_of(error),
            element: error.downcast_ref::<InElement>().map(|at| at.path.clone()),
        }
    }
}

fn file_of(error: &Error) -> Option<PathBuf> {
    let in_file = error.downcast_ref::<InFile>().map(|at| &at.1);
    let no_file = error.downcast_ref::<NoFile>().map(|no| &no.file);
    in_file.or(no_file).cloned()
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    fn system(kind: ErrorKind) -> Error {
        Error::from(io::Error::from(kind))
    }

    #[test]
    fn a_chain_tells_its_kind_file_and_element() {
        let inner = anyhow!(Failure(Kind::Key, "obs has no column 'a'".into()));
        let error = inner
            .context(in_element("Read", "obs/a"))
            .context(InFile("Cannot slice", "x.h5ad".into()));
        let told = Told {
            kind: Kind::Key,
            file: Some("x.h5ad".into()),
            element: Some("obs/a".into()),
        };
        assert_eq!(Told::by(&error), told);
        let said = "Cannot slice x.h5ad: Read 'obs/a': obs has no column 'a'";
        assert_eq!(format!("{error:#}"), said);
    }

    #[test]
    fn the_system_tells_its_own_kinds() {
        let unreadable = || Failure(Kind::Unreadable, "Open a".into());
        let value = || Failure(Kind::Value, "a".into());
        for (error, kind) in [
            (system(ErrorKind::NotFound).context("Open a"), Kind::Missing),
            (
                system(ErrorKind::NotFound).context(unreadable()),
                Kind::Missing,
            ),
            (system(ErrorKind::NotFound).context(value()), Kind::Value),
            (system(ErrorKind::StorageFull).context("Write a"), Kind::Io),
            (system(ErrorKind::OutOfMemory).context("a"), Kind::Memory),
            (anyhow!("a").context(unreadable()), Kind::Unreadable),
            (anyhow!("a"), Kind::Failed),
        ] {
            assert_eq!(Told::by(&error).kind, kind, "{error:#}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_told_by_itself() {
        let error = Error::from(NoFile {
            file: "a".into(),
            said: "a does not exist".into(),
        });
        let unreadable = Failure(Kind::Unreadable, "Open".into());
        let told = Told::by(&error.context(unreadable));
        assert_eq!(
            (told.kind, told.file),
            (Kind::Missing, Some(PathBuf::from("a")))
        );
    }

    #[test]
    fn a_failure_is_found_below_other_sentences() {
        let fault = Err::<(), _>(Failure(Kind::Memory, "no room".into()));
        let error = fault.context("Read 'X'").context("Slice a").unwrap_err();
        assert_eq!(Told::by(&error).kind, Kind::Memory);
    }
}
