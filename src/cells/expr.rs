//! The grammar of `--where`, as in `n_counts > 500 and cell_type in ["T", "B"]`.
//!
//! ```text
//! either     = both { "or" both }
//! both       = one { "and" one }
//! one        = "not" one | "(" either ")" | comparison
//! comparison = operand [ ("==" | "!=" | "<" | "<=" | ">" | ">=") operand | ["not"] "in" list ]
//! list       = "[" [ literal { "," literal } ] "]"
//! operand    = column | literal
//! literal    = number | 'text' | "text" | true | false
//! ```
//! A column is a bare name (letters, digits, `_` and `.`) or any name in backticks. Keywords are taken in any case.
//!
//! The parser goes down this grammar by a function for each line, on tokens (`tokens.rs`). Most of the rest is for
//! errors: each names the character, counted from 1, and what may be meant.

use std::cmp::Ordering;
use std::str::FromStr;

use anyhow::{Error, Result, anyhow, bail, ensure};

pub use super::tokens::Literal;
use super::tokens::{Token, shown_column, tokens};
use crate::limits;

/// An expression as it was typed, before it is known which columns there are.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// Two or more, side by side: thousands of them nest no deeper than two.
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Not(Box<Expr>),
    Compare(Operand, Comparison, Operand),
    /// `column in [list]`, or `not in` where `negated`.
    In {
        column: String,
        list: Vec<Literal>,
        negated: bool,
    },
    /// A column of bools.
    Column(String),
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Column(String),
    Literal(Literal),
}

/// `==`, `!=`, `<`, `<=`, `>`, `>=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Comparison {
    pub fn is_equality(self) -> bool {
        matches!(self, Comparison::Equal | Comparison::Unequal)
    }

    /// The comparison with its sides swapped.
    pub fn mirrored(self) -> Comparison {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::AtMost => Comparison::AtLeast,
            Comparison::Greater => Comparison::Less,
            Comparison::AtLeast => Comparison::AtMost,
            same => same,
        }
    }

    /// Whether two values in this order are as the comparison wants them; no order (a missing value, NaN) is always no.
    pub fn holds(self, order: Option<Ordering>) -> bool {
        let Some(order) = order else { return false };
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::Unequal => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::AtMost => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::AtLeast => order.is_ge(),
        }
    }
}

const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];
/// An expression, and the text that it was typed as.
#[derive(Clone, Debug)]
pub struct TypedExpr {
    pub text: String,
    pub expr: Expr,
}

impl FromStr for TypedExpr {
    type Err = <Expr as FromStr>::Err;

    fn from_str(text: &str) -> Result<TypedExpr, Self::Err> {
        Ok(TypedExpr {
            text: text.to_owned(),
            expr: text.parse()?,
        })
    }
}

impl Expr {
    /// The columns that it names. One that is named twice is there twice.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Expr::Or(parts) | Expr::And(parts) => parts.iter().flat_map(Expr::columns).collect(),
            Expr::Not(one) => one.columns(),
            Expr::Compare(a, _, b) => {
                let columns = [a, b].into_iter().filter_map(|operand| match operand {
                    Operand::Column(name) => Some(name.as_str()),
                    Operand::Literal(_) => None,
                });
                columns.collect()
            }
            Expr::In { column, .. } | Expr::Column(column) => vec![column],
        }
    }
}

impl FromStr for Expr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Expr> {
        let mut parser = Parser {
            text,
            tokens: tokens(text)?,
            next: 0,
            depth: 0,
        };
        // `my cell type == 1` fails at `cell`: names that stand side by side are one name, or one text, without its
        // quotes.
        parser.whole().map_err(|e| match parser.in_quotes() {
            Some(meant) => anyhow!("{e}; if that is one {meant}"),
            None => e,
        })
    }
}

/// `next` is the token that is read next; the last one is always the end, which [`peek`](Self::peek) gives again and
/// again.
struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Parser<'_> {
    fn whole(&mut self) -> Result<Expr> {
        let expr = self.either()?;
        match self.peek() {
            Token::End => Ok(expr),
            Token::Sign(sign) if COMPARISONS.iter().any(|(s, _)| s == sign) => {
                self.expected("'and' between two comparisons")
            }
            _ => self.expected("'and', 'or' or the end"),
        }
    }

    /// What the bare words may be that stand where nothing more could be read: a column that was typed without backticks, or
    /// text without quotes.
    fn in_quotes(&self) -> Option<String> {
        let is_word = |at: &usize| match self.tokens.get(*at) {
            Some((place, Token::Column(_))) => self.text.chars().nth(place - 1) != Some('`'),
            _ => false,
        };
        let here = Some(self.next).filter(is_word)?;
        let start = (0..here).rev().take_while(is_word).last()?;
        let end = (here..).take_while(is_word).last()?;
        let words = self.tokens[start..=end].iter();
        let words: Vec<String> = words.map(|(_, token)| token.word().to_owned()).collect();
        let words = words.join(" ");
        let mut signs = COMPARISONS.iter().map(|(sign, _)| sign);
        let is_value = start > 0 && signs.any(|sign| self.is_at(start - 1, sign));
        Some(match is_value.then_some(words.as_str()) {
            Some(text) => format!("text, put it in quotes: \"{text}\""),
            None => format!("name, put it in backticks: `{words}`"),
        })
    }

    /// An error where `word`, an `and` or an `or`, joins to an equality what is no comparison but one more value.
    fn refuse_values(&self, left: &Expr, word: &str) -> Result<()> {
        let signs = COMPARISONS.iter().map(|(sign, _)| *sign);
        let signs: Vec<&str> = signs.chain(["in", "not"]).collect();
        let is_sign = |at: usize| signs.iter().any(|sign| self.is_at(at, sign));
        let value = |at: usize| match self.tokens.get(at) {
            Some((_, Token::Literal(literal))) if !is_sign(at + 1) => Some(literal.clone()),
            _ => None,
        };
        let (Some((column, how, first)), Some(_)) = (last_equality(left), value(self.next)) else {
            return Ok(());
        };
        // Each other token is an 'and' or an 'or'.
        let joined = |at: &usize| {
            *at == self.next || ["and", "or"].iter().any(|word| self.is_at(at - 1, word))
        };
        let others = (self.next..).step_by(2).take_while(joined).map_while(value);
        let values = [first.clone()].into_iter().chain(others);
        let quote = if self.text.contains('\'') { '\'' } else { '"' };
        let values: Vec<String> = values.map(|value| value.quoted(quote)).collect();
        let not = if how == Comparison::Unequal {
            "not "
        } else {
            ""
        };
        let values = values.join(", ");
        let (place, _) = &self.tokens[self.next];
        bail!(
            "at character {place}: behind '{word}' comes a comparison, not a value; did you mean {} {not}in [{values}]?",
            shown_column(column)
        )
    }

    fn is_at(&self, at: usize, sign: &str) -> bool {
        matches!(self.tokens.get(at), Some((_, Token::Sign(s))) if *s == sign)
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |t| &t.1)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    /// Takes the next token if it is this sign or keyword; whether it was.
    fn skip(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(s) if *s == sign);
        self.next += usize::from(found);
        found
    }

    /// The error that something else is needed where the parser is.
    fn expected<T>(&self, what: &str) -> Result<T> {
        let place = self.tokens.get(self.next.min(self.tokens.len() - 1));
        let place = place.map_or(1, |t| t.0);
        bail!(
            "at character {place}: expected {what}, found {}",
            self.peek()
        )
    }

    /// The same where a text stands that may be the name of a column.
    fn expected_column<T>(&self, what: &str) -> Result<T> {
        match (self.expected(what), self.peek()) {
            (Err(error), Token::Literal(Literal::Text(name))) => {
                bail!("{error}; if that is a column, write {}", shown_column(name))
            }
            (said, _) => said,
        }
    }

    fn either(&mut self) -> Result<Expr> {
        self.joined("or", Self::both, Expr::Or)
    }

    fn both(&mut self) -> Result<Expr> {
        self.joined("and", Self::one, Expr::And)
    }

    /// Parts with `word` between them, or a part that stands alone.
    fn joined(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Expr>,
        of: fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr> {
        let (mut last, mut parts) = (part(self)?, vec![]);
        while self.skip(word) {
            self.refuse_values(&last, word)?;
            parts.push(std::mem::replace(&mut last, part(self)?));
        }
        if parts.is_empty() {
            return Ok(last);
        }
        parts.push(last);
        Ok(of(parts))
    }

    fn one(&mut self) -> Result<Expr> {
        self.depth += 1;
        ensure!(self.depth <= limits::EXPRESSION, "it is nested too deeply");
        let expr = if self.skip("not") {
            Expr::Not(Box::new(self.one()?))
        } else if self.skip("(") {
            let inner = self.either()?;
            if !self.skip(")") {
                return self.expected("')', 'and' or 'or'");
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn comparison(&mut self) -> Result<Expr> {
        let start = self.next;
        let left = self.operand("a column, a value, 'not' or '('")?;
        let negated = self.skip("not");
        if self.skip("in") {
            let Operand::Column(column) = left else {
                self.next = start;
                return self.expected_column("a column before 'in'");
            };
            let list = self.list()?;
            return Ok(Expr::In {
                column,
                list,
                negated,
            });
        }
        if negated {
            return self.expected("'in'");
        }
        let sign = COMPARISONS
            .iter()
            .find(|(sign, _)| *self.peek() == Token::Sign(sign));
        match (sign, left) {
            (Some((_, comparison)), left) => {
                self.next += 1;
                let right = self.operand("a value or a column")?;
                if let (Operand::Literal(_), Operand::Literal(_)) = (&left, &right) {
                    self.next = start;
                    return self.expected_column("a column on one side of the comparison");
                }
                Ok(Expr::Compare(left, *comparison, right))
            }
            (None, Operand::Column(column)) => Ok(Expr::Column(column)),
            (None, Operand::Literal(_)) => self.expected("a comparison such as '=='"),
        }
    }

    fn operand(&mut self, what: &str) -> Result<Operand> {
        match self.take() {
            Token::Column(name) => Ok(Operand::Column(name)),
            Token::Literal(literal) => Ok(Operand::Literal(literal)),
            _ => {
                self.next -= 1;
                self.expected(what)
            }
        }
    }

    fn list(&mut self) -> Result<Vec<Literal>> {
        if !self.skip("[") {
            return self.expected("a list such as [\"a\", \"b\"]");
        }
        let mut list = vec![];
        while !self.skip("]") {
            if !list.is_empty() && !self.skip(",") {
                return self.expected("',' or ']'");
            }
            match self.take() {
                Token::Literal(literal) => list.push(literal),
                _ => {
                    self.next -= 1;
                    return self.expected("a number, a quoted text, true or false");
                }
            }
        }
        Ok(list)
    }
}

/// The comparison for equality with a value that an expression ends with.
fn last_equality(expr: &Expr) -> Option<(&str, Comparison, &Literal)> {
    match expr {
        Expr::Or(parts) | Expr::And(parts) => last_equality(parts.last()?),
        Expr::Compare(Operand::Column(name), how, Operand::Literal(value)) => {
            how.is_equality().then_some((name, *how, value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tokens::escaped;
    use super::*;

    fn column(name: &str) -> String {
        format!("`{}`", escaped(name, '`'))
    }

    fn operand(operand: &Operand) -> String {
        match operand {
            Operand::Column(name) => column(name),
            Operand::Literal(literal) => literal.to_string(),
        }
    }

    fn print(expr: &Expr) -> String {
        let joined = |parts: &[Expr], word| {
            let parts: Vec<String> = parts.iter().map(print).collect();
            format!("({})", parts.join(word))
        };
        match expr {
            Expr::Or(parts) => joined(parts, " or "),
            Expr::And(parts) => joined(parts, " AND "),
            Expr::Not(a) => format!("not {}", print(a)),
            Expr::Compare(a, how, b) => {
                let sign = COMPARISONS.iter().find(|(_, c)| c == how).unwrap().0;
                format!("{}{sign} {}", operand(a), operand(b))
            }
            Expr::In {
                column: name,
                list,
                negated,
            } => {
                let list: Vec<String> = list.iter().map(Literal::to_string).collect();
                let not = if *negated { "not " } else { "" };
                format!("{} {not}in [{}]", column(name), list.join(" ,"))
            }
            Expr::Column(name) => column(name),
        }
    }

    fn literals() -> impl Strategy<Value = Literal> {
        prop_oneof![
            "[-+]?[0-9]{1,4}(\\.[0-9]{0,3})?([eE][-+]?[0-9])?".prop_map(Literal::Number),
            any::<String>().prop_map(Literal::Text),
            any::<bool>().prop_map(Literal::Bool),
        ]
    }

    fn exprs() -> impl Strategy<Value = Expr> {
        let comparison = prop::sample::select(COMPARISONS.to_vec()).prop_map(|c| c.1);
        let name = || prop_oneof!["[a-zß_][a-z0-9_.]{0,5}", any::<String>()];
        let leaf = prop_oneof![
            name().prop_map(Expr::Column),
            (name(), comparison.clone(), literals()).prop_map(|(a, c, b)| {
                Expr::Compare(Operand::Column(a), c, Operand::Literal(b))
            }),
            (literals(), comparison, name()).prop_map(|(a, c, b)| {
                Expr::Compare(Operand::Literal(a), c, Operand::Column(b))
            }),
            (
                name(),
                prop::collection::vec(literals(), 0..4),
                any::<bool>()
            )
                .prop_map(|(column, list, negated)| Expr::In {
                    column,
                    list,
                    negated
                }),
        ];
        leaf.prop_recursive(5, 40, 3, |inner| {
            let parts = prop::collection::vec(inner.clone(), 2..4);
            prop_oneof![
                parts.clone().prop_map(Expr::Or),
                parts.prop_map(Expr::And),
                inner.prop_map(|a| Expr::Not(a.into())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_mirrored_comparison_is_the_same(a in 0i128..3, b in 0i128..3) {
            use Comparison::{AtLeast, AtMost, Equal, Greater, Less, Unequal};
            for how in [Equal, Unequal, Less, AtMost, Greater, AtLeast] {
                prop_assert_eq!(how.holds(Some(a.cmp(&b))), how.mirrored().holds(Some(b.cmp(&a))));
            }
        }

        #[test]
        fn what_is_printed_is_parsed_again(expr in exprs()) {
            prop_assert_eq!(print(&expr).parse::<Expr>().unwrap(), expr);
        }

        #[test]
        fn garbage_is_an_error_or_an_expression(text in any::<String>()) {
            let _ = text.parse::<Expr>();
        }

        #[test]
        fn garbled_expressions_too(words in prop::collection::vec(
            prop::sample::select(vec!["a", "not", "in", "(", ")", "[", "]", ",", "==", "<", "1", "'x'", "and", "or", "`", "\\", "-"]), 0..20)) {
            let _ = words.join(" ").parse::<Expr>();
            let _ = words.concat().parse::<Expr>();
        }
    }

    #[test]
    fn precedence_is_not_and_or() {
        let same = [
            ("a or b and c", "a or (b and c)"),
            ("not a and b", "(not a) and b"),
            ("not a == 1", "not (a == 1)"),
            ("a == 1 or not b in [2]", "(a == 1) or (not (b in [2]))"),
            ("n.x>=-1.5e3", "`n.x` >= -1.5e3"),
            ("a IN ['it\\'s']", "a in [\"it's\"]"),
        ];
        for (a, b) in same {
            assert_eq!(
                a.parse::<Expr>().unwrap(),
                b.parse::<Expr>().unwrap(),
                "{a}"
            );
        }
        assert_ne!(
            "not a in [1]".parse::<Expr>().unwrap(),
            "a not in [1]".parse::<Expr>().unwrap()
        );
    }

    #[test]
    fn errors_tell_where() {
        let cases = [
            ("", "at character 1: expected a column, a value"),
            (
                "n > ",
                "at character 5: expected a value or a column, found the end",
            ),
            ("n = 5", "at character 3: '=' is no comparison; write '=='"),
            ("n > 5 & m", "at character 7: '&' is unknown; write 'and'"),
            (
                "täx > 1 m",
                "at character 9: expected 'and', 'or' or the end, found 'm'",
            ),
            ("0 < n < 5", "at character 7: expected 'and' between"),
            (
                "c in ['a' 'b']",
                "at character 11: expected ',' or ']', found \"b\"",
            ),
            ("c in 'a'", "at character 6: expected a list"),
            ("c == 'a", "at character 6: ' is not closed"),
            ("(a == 1", "at character 8: expected ')'"),
            ("1 == 2", "at character 1: expected a column on one side"),
            (
                "'cell type' == 'CD4'",
                "found \"cell type\"; if that is a column, write `cell type`",
            ),
            (
                "'donor' in ['d1']",
                "before 'in', found \"donor\"; if that is a column, write donor",
            ),
            ("n > 5x", "at character 5: '5x' is no number"),
            (
                "cell-type == 1",
                "at character 5: '-type' is no number; a name",
            ),
            ("a not b", "at character 7: expected 'in'"),
            (
                "n > 1 and my cell type == 'x'",
                "found 'cell'; if that is one name, put it in backticks: `my cell type`",
            ),
            (
                "phase == G1 cells",
                "found 'cells'; if that is one text, put it in quotes: \"G1 cells\"",
            ),
            (
                "donor == 'd1' or 'd3' or 'd4'",
                "at character 18: behind 'or' comes a comparison, not a value; did you mean donor in ['d1', 'd3', 'd4']?",
            ),
            (
                "n > 1 and `a b` != 1 and 2",
                "did you mean `a b` not in [1, 2]?",
            ),
            (
                "a == \"x\" or \"y\" and b",
                "did you mean a in [\"x\", \"y\"]?",
            ),
        ];
        assert!("a == 1 or 2 == b".parse::<Expr>().is_ok());
        for (text, expected) in cases {
            let error = format!("{:#}", text.parse::<Expr>().unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
        let long = ["a == 1"; 100_000].join(" or ");
        assert_eq!(long.parse::<Expr>().unwrap().columns().len(), 100_000);
        let deep = "(".repeat(100_000);
        assert!(
            deep.parse::<Expr>()
                .unwrap_err()
                .to_string()
                .contains("deeply")
        );
    }
}
