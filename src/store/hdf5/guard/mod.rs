//! Refusals of what a file must not make the HDF5 library do. A damaged file, or one that was made to do harm, gets an
//! error of one line: no output from damaged data without a word, no memory without end, no call that does not come back,
//! nothing read from outside the folder. Sound files are read the same without: nothing here says what values are.
//!
//! - `external`: files that a file leads to lie in its folder, and are files
//! - `claims`: lengths of text and sequences, of fill values and of lists of sources are those of what is there
//! - `watch`: a call that turns, or takes more memory than the run may, ends the run
//!
//! A limit of the kernel (setrlimit(2), `RLIMIT_DATA`) would make an allocation of the library fail, and the library say
//! so; but those of other threads would fail as well, of which a decoder that fails is an error of a sound file.

pub mod claims;
pub mod external;
pub mod watch;
