//! The categories of many columns as one list, and the codes in it.
//!
//! Columns are added one by one; what type their values have in common is only said when all are.
//!
//! The categories `[b, a]` and `[a, c]` unite to `[b, a, c]`; the maps of the two columns are `[0, 1]` and `[1, 2]`,
//! and rows get new codes by them, block by block. In memory are all distinct values, each once for each type in which
//! it was met; a plain column among categorical ones adds all its distinct values.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;

use super::column::{Column, ColumnKind};
use super::values::{Data, Values};
use crate::store::spec::{Dtype, Kind};

/// Distinct values of one type in order of first appearance.
struct Dictionary {
    /// By [comparable](Values::comparable) values.
    codes: HashMap<Box<[u8]>, i32>,
    /// As the first of equal ones is: -0 or 0.
    values: Data,
}

impl Dictionary {
    fn new(dtype: &Dtype) -> Dictionary {
        Dictionary {
            codes: HashMap::new(),
            values: Data::empty(dtype),
        }
    }

    /// Adds what is new of values, and not what is missing. `keys` are the same values, comparable.
    fn add(&mut self, keys: &Values, values: &Data) -> Result<()> {
        // Nearly all values are known already. That is seen on all cores, and only what is new goes through the loop
        // below, which gives codes in the order of appearance.
        let is_new =
            |i: &usize| !keys.is_missing(*i) && !self.codes.contains_key(keys.data.get(*i));
        let new: Vec<usize> = (0..values.len()).into_par_iter().filter(is_new).collect();
        for i in new {
            let key = keys.data.get(i);
            if !self.codes.contains_key(key) {
                let code = i32::try_from(self.codes.len()).context("More than 2^31 categories")?;
                self.codes.insert(key.into(), code);
                self.values.push(values.get(i));
            }
        }
        Ok(())
    }

    /// The code of each of comparable values, -1 where it is missing; an error for a value that was not added.
    fn codes(&self, values: &Values) -> Result<Vec<i32>> {
        let code = |i| {
            if values.is_missing(i) {
                Ok(-1)
            } else {
                match self.codes.get(values.data.get(i)) {
                    Some(code) => Ok(*code),
                    None => bail!("It has a value that was not there when it was first read"),
                }
            }
        };
        (0..values.data.len()).into_par_iter().map(code).collect()
    }
}

/// What the categories of the columns that were added so far unite to.
pub struct Union {
    /// One for each type.
    dictionaries: Vec<Dictionary>,
    /// The order of appearance: values of one dictionary after those of another. Number of the dictionary, and which of
    /// its values: text a and b, then the integer 5, then text c -> `[(0, 0..2), (1, 0..1), (0, 2..3)]`.
    runs: Vec<(usize, Range<usize>)>,
    /// The categories of the first ordered column of each type, as long as all may be the same.
    lists: Vec<Values>,
    ordered: bool,
    /// Whether all columns so far are ordered and have the same categories, by type.
    keeps_order: bool,
}

impl Default for Union {
    fn default() -> Union {
        Union {
            dictionaries: vec![],
            runs: vec![],
            lists: vec![],
            ordered: false,
            keeps_order: true,
        }
    }
}

impl Union {
    /// Adds the categories of a column, the unused ones too; of a plain one its distinct values.
    pub fn add(&mut self, column: &Column) -> Result<()> {
        let ColumnKind::Categorical { categories, .. } = &column.kind else {
            for rows in column.blocks()? {
                self.add_plain(column.read(rows)?)?;
            }
            return Ok(());
        };
        self.ordered |= column.is_ordered();
        // It has no say in the order either: all its rows are missing.
        if categories.rows() == 0 {
            return Ok(());
        }
        let keys = self.add_values(categories.read_all()?)?;
        self.keep_order(column.is_ordered(), keys);
        Ok(())
    }

    /// Adds distinct values of a plain column. Where none is there, it has no say in the type, nor in the order.
    pub fn add_plain(&mut self, values: Values) -> Result<()> {
        if values.is_void() {
            return Ok(());
        }
        self.lose_order();
        self.add_values(values).map(drop)
    }

    /// The types of what was added, as far as it has values.
    pub fn dtypes(&self) -> Vec<Dtype> {
        self.dictionaries.iter().map(|d| d.values.dtype()).collect()
    }

    /// As many categories at the most: those of different types may turn out to be the same.
    pub fn at_most(&self) -> u64 {
        self.dictionaries.iter().map(|d| d.codes.len() as u64).sum()
    }

    /// Returns the values, comparable.
    fn add_values(&mut self, values: Values) -> Result<Values> {
        let keys = values.clone().comparable()?;
        let values = values.data;
        let dtype = values.dtype();
        let known = self.dictionaries.iter();
        let at = known.map(|d| d.values.dtype()).position(|d| d == dtype);
        let at = at.unwrap_or(self.dictionaries.len());
        if at == self.dictionaries.len() {
            self.dictionaries.push(Dictionary::new(&dtype));
        }
        let dictionary = &mut self.dictionaries[at];
        let before = dictionary.codes.len();
        dictionary.add(&keys, &values)?;
        let after = dictionary.codes.len();
        match self.runs.last_mut() {
            Some((last, run)) if *last == at && run.end == before => run.end = after,
            _ => self.runs.push((at, before..after)),
        }
        Ok(keys)
    }

    /// Order stays while all columns have the same categories in the same order.
    fn keep_order(&mut self, ordered: bool, values: Values) {
        if !self.keeps_order || !ordered {
            return self.lose_order();
        }
        let dtype = values.data.dtype();
        match self.lists.iter().find(|list| list.data.dtype() == dtype) {
            Some(list) if *list != values => self.lose_order(),
            Some(_) => {}
            None => self.lists.push(values),
        }
    }

    /// A plain column has no order.
    pub fn lose_order(&mut self) {
        self.keeps_order = false;
        self.lists.clear();
    }

    /// Whether a type of numbers holds every value exactly.
    pub fn fits(&self, dtype: &Dtype) -> bool {
        let fits = |d: &Dictionary| Values::from(d.values.clone()).cast(dtype).is_ok();
        self.dictionaries.iter().all(fits)
    }

    /// The categories as values of type `dtype`, in order of first appearance. Ordered only if every column has the
    /// same in the same order.
    pub fn unite(mut self, dtype: &Dtype) -> Result<Categories> {
        let mut dictionary = Dictionary::new(dtype);
        match self.dictionaries.as_slice() {
            [only] if only.values.dtype() == *dtype => {
                dictionary = self.dictionaries.remove(0);
            }
            _ => {
                for (from, run) in &self.runs {
                    let from = &self.dictionaries[*from].values;
                    let mut values = Data::empty(&from.dtype());
                    run.clone().for_each(|i| values.push(from.get(i)));
                    // Values of several types may be equal in this one: 1 and 1.0, or the number 1 and the text `1`.
                    let keys = Values::from(values.clone()).comparable()?.cast(dtype)?;
                    // As text 0 is `0.0`, whatever its sign.
                    let values = if dtype.is_string() {
                        keys.data.clone()
                    } else {
                        Values::from(values).cast(dtype)?.data
                    };
                    dictionary.add(&keys, &values)?;
                }
            }
        }
        let mut ordered = self.ordered && self.keeps_order;
        // Each of them, of whatever type, must be the whole result in its order.
        for list in self.lists {
            let codes = dictionary.codes(&list.cast(dtype)?)?;
            ordered &= codes.into_iter().eq(0..dictionary.codes.len() as i32);
        }
        Ok(Categories {
            dictionary,
            ordered,
        })
    }
}

/// What the categorical columns of many inputs (and the plain ones that go with them) have in common.
pub struct Categories {
    dictionary: Dictionary,
    pub ordered: bool,
}

impl Categories {
    pub fn values(&self) -> &Data {
        &self.dictionary.values
    }

    /// As pandas chooses the type of codes: the smallest that holds one more than there are categories. 126 categories
    /// take int8, 127 take int16.
    pub fn code_dtype(&self) -> Dtype {
        let size = match self.dictionary.codes.len() {
            0..0x7f => 1,
            0x7f..0x7fff => 2,
            _ => 4,
        };
        Dtype::native(Kind::Int, size)
    }

    /// For each category of a column the code here; `None` where the column is plain.
    pub fn map(&self, column: &Column) -> Result<Option<Vec<i32>>> {
        let ColumnKind::Categorical { categories, .. } = &column.kind else {
            return Ok(None);
        };
        if categories.rows() == 0 {
            return Ok(Some(vec![]));
        }
        let values = categories.read_all()?.comparable()?;
        let values = values.cast(&self.values().dtype())?;
        self.dictionary.codes(&values).map(Some)
    }

    /// The codes of some rows of a column, whose map is `map`. Without a map the column is plain, and each value is
    /// looked up.
    pub fn encode(&self, map: Option<&[i32]>, column: &Column, rows: Range<u64>) -> Result<Values> {
        let Some(map) = map else {
            return self.encode_values(column.read(rows)?);
        };
        let codes = column.codes(rows)?;
        let codes = codes.par_iter().map(|code| renumber(*code, map));
        Ok(self.codes(codes.collect::<Result<Vec<i32>>>()?))
    }

    /// As many codes of one category.
    pub fn repeat(&self, code: i32, rows: usize) -> Values {
        self.codes(vec![code; rows])
    }

    /// The codes of values.
    pub fn encode_values(&self, values: Values) -> Result<Values> {
        let mut values = values.comparable()?;
        let count = values.data.len();
        // No value has to be of the type of the categories.
        if (0..count).all(|i| values.is_missing(i)) {
            return Ok(self.repeat(-1, count)); // of whatever type
        }
        values = values.cast(&self.values().dtype())?;
        Ok(self.codes(self.dictionary.codes(&values)?))
    }

    fn codes(&self, codes: Vec<i32>) -> Values {
        let bytes = match self.code_dtype().size() {
            1 => codes.iter().map(|c| *c as u8).collect(),
            2 => codes
                .iter()
                .flat_map(|c| (*c as i16).to_ne_bytes())
                .collect(),
            _ => codes.iter().flat_map(|c| c.to_ne_bytes()).collect(),
        };
        let dtype = self.code_dtype();
        Data::Numbers { dtype, bytes }.into()
    }
}

/// The code in the result of a code that [`Column::codes`] read; -1 stays. An error for any other code beyond the
/// categories.
fn renumber(code: u64, map: &[i32]) -> Result<i32> {
    let new = usize::try_from(code).ok().and_then(|c| map.get(c));
    if let Some(new) = new {
        return Ok(*new);
    }
    let (code, categories) = (code as i64, map.len());
    ensure!(
        code == -1,
        "It has code {code}, but {categories} categories"
    );
    Ok(-1)
}
