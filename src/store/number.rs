//! Numbers as they are stored.

/// Byte order of a stored number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    Little,
    Big,
}

/// The byte order of this machine.
pub const NATIVE: ByteOrder = if cfg!(target_endian = "big") {
    ByteOrder::Big
} else {
    ByteOrder::Little
};

/// How the bytes of a number are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One byte, 0 or 1 (in HDF5 an enum of int8 with FALSE and TRUE, as h5py writes it).
    Bool,
    Int,
    Uint,
    Float,
    /// Two floats, real then imaginary (in HDF5 a compound of `r` and `i`).
    Complex,
}

/// A float64 or float32 that is a whole number no smaller than 0.
pub fn whole_from(bytes: &[u8], order: ByteOrder) -> Option<u64> {
    let bits = integer(bytes, Kind::Uint, order)? as u64;
    let value = match bytes.len() {
        8 => f64::from_bits(bits),
        4 => f32::from_bits(bits as u32).into(),
        _ => return None,
    };
    let whole = value.fract() == 0.0 && (0.0..1e15).contains(&value);
    whole.then_some(value as u64)
}

/// One integer of up to 8 bytes; `None` for numbers of other kinds.
pub fn integer(bytes: &[u8], kind: Kind, order: ByteOrder) -> Option<i128> {
    let mut wide = [0u8; 8];
    for (i, &b) in bytes.iter().enumerate() {
        let at = match order {
            ByteOrder::Little => i,
            ByteOrder::Big => bytes.len() - 1 - i,
        };
        wide[at] = b;
    }
    let value = u64::from_le_bytes(wide);
    let unused = 64 - 8 * bytes.len() as u32;
    match kind {
        Kind::Int => Some(i128::from(((value << unused) as i64) >> unused)),
        Kind::Uint | Kind::Bool => Some(i128::from(value)),
        Kind::Float | Kind::Complex => None,
    }
}
