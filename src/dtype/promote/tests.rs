//! Promotion against a table made by numpy, and conversion by its properties.

use proptest::prelude::*;

use super::*;

/// `numpy.result_type` of the type at the head of the row and that at the head of the column (numpy 2.4).
const NUMPY: [&str; 14] = [
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128",
    "int8 int8 int16 int32 int64 int16 int32 int64 float64 float16 float32 float64 complex64 complex128",
    "int16 int16 int16 int32 int64 int16 int32 int64 float64 float32 float32 float64 complex64 complex128",
    "int32 int32 int32 int32 int64 int32 int32 int64 float64 float64 float64 float64 complex128 complex128",
    "int64 int64 int64 int64 int64 int64 int64 int64 float64 float64 float64 float64 complex128 complex128",
    "uint8 int16 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128",
    "uint16 int32 int32 int32 int64 uint16 uint16 uint32 uint64 float32 float32 float64 complex64 complex128",
    "uint32 int64 int64 int64 int64 uint32 uint32 uint32 uint64 float64 float64 float64 complex128 complex128",
    "uint64 float64 float64 float64 float64 uint64 uint64 uint64 uint64 float64 float64 float64 complex128 complex128",
    "float16 float16 float32 float64 float64 float16 float32 float64 float64 float16 float32 float64 complex64 complex128",
    "float32 float32 float32 float64 float64 float32 float32 float64 float64 float32 float32 float64 complex64 complex128",
    "float64 float64 float64 float64 float64 float64 float64 float64 float64 float64 float64 float64 complex128 complex128",
    "complex64 complex64 complex64 complex128 complex128 complex64 complex64 complex128 complex128 complex64 complex64 complex128 complex64 complex128",
    "complex128 complex128 complex128 complex128 complex128 complex128 complex128 complex128 complex128 complex128 complex128 complex128 complex128 complex128",
];

#[test]
fn records_take_the_common_type_of_each_field() {
    let field = |name: &str, offset, dtype, shape: &[u64]| Field {
        name: name.into(),
        offset,
        dtype,
        shape: shape.into(),
    };
    let text = |size| Dtype::FixedString { size };
    let (int16, int32) = (Dtype::native(Kind::Int, 2), Dtype::native(Kind::Int, 4));
    // A byte lies between the fields.
    let fields = vec![field("s", 0, text(1), &[]), field("v", 2, int16, &[2])];
    let narrow = Dtype::Record { size: 6, fields };
    let fields = vec![
        field("s", 0, text(3), &[]),
        field("v", 3, int32.clone(), &[2]),
    ];
    let wide = Dtype::Record { size: 11, fields };
    assert_eq!(
        result_type(&[narrow.clone(), wide.clone()]),
        Some(wide.clone())
    );
    let mut record = b"a?".to_vec();
    [1i16, -2]
        .iter()
        .for_each(|v| record.extend(v.to_ne_bytes()));
    let mut expected = b"a\0\0".to_vec();
    [1i32, -2]
        .iter()
        .for_each(|v| expected.extend(v.to_ne_bytes()));
    assert_eq!(
        convert(&record.repeat(2), &narrow, &wide).unwrap(),
        expected.repeat(2)
    );
    let fields = vec![
        field("s", 0, text(1), &[]),
        field("w", 1, int32.clone(), &[2]),
    ];
    let other = Dtype::Record { size: 9, fields };
    assert_eq!(result_type(&[narrow, other]), None);
    assert_eq!(result_type(&[text(1), int32]), None);
}

fn types(order: ByteOrder) -> Vec<Dtype> {
    let of = |kind, sizes: &[usize]| -> Vec<Dtype> {
        sizes
            .iter()
            .map(|&size| Dtype::Number { kind, size, order })
            .collect()
    };
    [
        of(Kind::Bool, &[1]),
        of(Kind::Int, &[1, 2, 4, 8]),
        of(Kind::Uint, &[1, 2, 4, 8]),
        of(Kind::Float, &[2, 4, 8]),
        of(Kind::Complex, &[8, 16]),
    ]
    .concat()
}

fn any_type() -> impl Strategy<Value = Dtype> {
    let all = [types(ByteOrder::Little), types(ByteOrder::Big)].concat();
    prop::sample::select(all)
}

fn same_number(a: &Dtype, b: &Dtype) -> bool {
    (a.kind(), a.size()) == (b.kind(), b.size())
}

#[test]
fn pairs_promote_as_in_numpy() {
    let types = types(crate::store::spec::NATIVE);
    for (row, a) in NUMPY.iter().zip(&types) {
        for (name, b) in row.split(' ').zip(&types) {
            let result = result_type(&[a.clone(), b.clone()]).unwrap();
            assert_eq!(result.to_string(), name, "{a} with {b}");
        }
    }
}

#[test]
fn byte_order_stays_where_all_agree() {
    for dtype in types(ByteOrder::Big) {
        assert_eq!(result_type(&[dtype.clone(), dtype.clone()]), Some(dtype));
    }
    assert_eq!(result_type(&[]), None);
    assert_eq!(result_type(&[Dtype::INT64, Dtype::String]), None);
}

/// `count` numbers of a type that are no NaN, by small integers.
fn sample(dtype: &Dtype, values: &[i8]) -> Vec<u8> {
    let int8 = Dtype::native(Kind::Int, 1);
    let uint8 = Dtype::native(Kind::Uint, 1);
    let from = match dtype.kind() {
        Some(Kind::Bool | Kind::Uint) => uint8,
        _ => int8,
    };
    let bytes: Vec<u8> = values
        .iter()
        .map(|&v| match dtype.kind() {
            Some(Kind::Bool) => (v & 1) as u8,
            Some(Kind::Uint) => v.unsigned_abs(),
            _ => v as u8,
        })
        .collect();
    match dtype.kind() {
        Some(Kind::Bool) => bytes,
        _ => convert(&bytes, &from, dtype).unwrap(),
    }
}

proptest! {
    #[test]
    fn the_result_holds_all_and_no_order_matters(a in any_type(), b in any_type(), c in any_type()) {
        let result = result_type(&[a.clone(), b.clone(), c.clone()]).unwrap();
        let other = result_type(&[c.clone(), a.clone(), b.clone()]).unwrap();
        prop_assert!(same_number(&result, &other));
        for dtype in [&a, &b, &c] {
            let wide = dtype.is_integer() && dtype.size() == 8 && !result.is_integer();
            prop_assert!(wide || is_exact(dtype, &result), "{dtype} in {result}");
        }
    }

    #[test]
    fn a_way_round_changes_nothing(a in any_type(), b in any_type(), c in any_type(), values in prop::collection::vec(any::<i8>(), 0..40)) {
        let bytes = sample(&a, &values);
        let middle = result_type(&[a.clone(), b.clone()]).unwrap();
        let end = result_type(&[middle.clone(), c]).unwrap();
        let direct = convert(&bytes, &a, &end).unwrap();
        let around = convert(&convert(&bytes, &a, &middle).unwrap(), &middle, &end).unwrap();
        prop_assert_eq!(direct, around);
    }

    #[test]
    fn integers_become_floats_only_exactly(value in any::<i64>(), shift in 0..64u32) {
        let value: i64 = value >> shift;
        let bytes = value.to_ne_bytes();
        match floats(&bytes, &Dtype::INT64) {
            Ok(floats) => prop_assert_eq!(floats[0] as i128, i128::from(value)),
            Err(_) => prop_assert_ne!((value as f64) as i128, i128::from(value)),
        }
    }

    #[test]
    fn integers_change_width_only_where_they_fit(value in any::<i64>(), shift in 0..64u32) {
        let value: i64 = value >> shift;
        let bytes = value.to_be_bytes();
        let from = Dtype::Number { kind: Kind::Int, size: 8, order: ByteOrder::Big };
        let narrow = convert(&bytes, &from, &Dtype::native(Kind::Int, 2)).ok();
        prop_assert_eq!(narrow, i16::try_from(value).ok().map(|v| v.to_ne_bytes().to_vec()));
        let unsigned = convert(&bytes, &from, &Dtype::native(Kind::Uint, 8)).ok();
        prop_assert_eq!(unsigned, u64::try_from(value).ok().map(|v| v.to_ne_bytes().to_vec()));
    }
}

#[test]
fn halves_are_read_and_written() {
    let half = Dtype::native(Kind::Float, 2);
    let bits = [0x3c00u16, 0xc000, 0x7bff, 0x0001, 0x7c00, 0xfc00, 0x8000];
    let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_ne_bytes()).collect();
    let expected = [
        1.0,
        -2.0,
        65504.0,
        2f64.powi(-24),
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
    ];
    assert_eq!(floats(&bytes, &half).unwrap(), expected);
    let numbers: Vec<u8> = (0..=255).collect();
    let written = convert(&numbers, &Dtype::native(Kind::Uint, 1), &half).unwrap();
    let again: Vec<f64> = numbers.iter().map(|&n| f64::from(n)).collect();
    assert_eq!(floats(&written, &half).unwrap(), again);
}

#[test]
fn a_real_number_gets_no_imaginary_part() {
    let bytes: Vec<u8> = [1.5f32, -2.0]
        .iter()
        .flat_map(|v| v.to_be_bytes())
        .collect();
    let from = Dtype::Number {
        kind: Kind::Float,
        size: 4,
        order: ByteOrder::Big,
    };
    let complex = convert(&bytes, &from, &Dtype::native(Kind::Complex, 16)).unwrap();
    let parts: Vec<f64> = complex
        .chunks(8)
        .map(|b| f64::from_ne_bytes(b.try_into().unwrap()))
        .collect();
    assert_eq!(parts, [1.5, 0.0, -2.0, 0.0]);
    assert!(convert(&complex, &Dtype::native(Kind::Complex, 16), &Dtype::FLOAT64).is_err());
}

#[test]
fn what_would_change_is_refused() {
    let odd = ((1u64 << 53) + 1).to_ne_bytes();
    let e = floats(&odd, &Dtype::INT64).unwrap_err().to_string();
    assert_eq!(e, "9007199254740993 cannot be kept exactly as float64");
    assert!(convert(&1f64.to_ne_bytes(), &Dtype::FLOAT64, &Dtype::INT64).is_err());
    assert!(
        convert(
            &0.1f64.to_ne_bytes(),
            &Dtype::FLOAT64,
            &Dtype::native(Kind::Float, 4)
        )
        .is_err()
    );
    let narrow = convert(
        &0.5f64.to_ne_bytes(),
        &Dtype::FLOAT64,
        &Dtype::native(Kind::Float, 4),
    );
    assert_eq!(narrow.unwrap(), 0.5f32.to_ne_bytes());
    assert!(convert(&[1], &Dtype::native(Kind::Uint, 1), &Dtype::BOOL).is_err());
    assert!(floats(&i64::MAX.to_ne_bytes(), &Dtype::INT64).is_err());
    assert_eq!(
        floats(&i64::MIN.to_ne_bytes(), &Dtype::INT64).unwrap(),
        [-(2f64.powi(63))]
    );
}
