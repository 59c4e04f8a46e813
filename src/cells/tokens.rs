//! The words of an expression: names of columns, values, keywords and signs, each with its place.
//!
//! Numbers stay text: `cluster == 05` is compared with the text `05` where the column is text.

use std::fmt;

use anyhow::{Result, anyhow, bail, ensure};

/// A value as it was typed; the column beside it decides how it is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// As it was typed.
    Number(String),
    Text(String),
    Bool(bool),
}

const KEYWORDS: [&str; 6] = ["and", "or", "not", "in", "true", "false"];
/// Longer signs before those that they start with.
const SIGNS: [&str; 11] = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ","];

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A keyword or a sign.
    Sign(&'static str),
    /// A name, bare or in backticks, which are taken off.
    Column(String),
    Literal(Literal),
    End,
}

/// The tokens of `text`, each with the number of the character where it starts.
pub fn tokens(text: &str) -> Result<Vec<(usize, Token)>> {
    let mut tokens = vec![];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let place = text[..text.len() - rest.len()].chars().count() + 1;
        let (token, len) = token(rest).map_err(|e| anyhow!("at character {place}: {e}"))?;
        tokens.push((place, token));
        rest = rest[len..].trim_start();
    }
    tokens.push((text.chars().count() + 1, Token::End));
    Ok(tokens)
}

/// The token that `rest` starts with, and its length in bytes.
fn token(rest: &str) -> Result<(Token, usize)> {
    let first = rest.chars().next().unwrap_or_default();
    if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        return Ok((Token::Sign(sign), sign.len()));
    }
    match first {
        '"' | '\'' => {
            let (text, len) = quoted(rest, first)?;
            Ok((Token::Literal(Literal::Text(text)), len))
        }
        '`' => {
            let (name, len) = quoted(rest, '`')?;
            Ok((Token::Column(name), len))
        }
        '0'..='9' | '.' | '-' | '+' => {
            // Rust also reads `-inf` as a number, so a digit is asked for.
            let text = number(rest);
            ensure!(
                text.contains(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok(),
                "'{text}' is no number; a name with such characters goes in `backticks`"
            );
            let literal = Literal::Number(text.into());
            Ok((Token::Literal(literal), text.len()))
        }
        c if c.is_alphabetic() || c == '_' => {
            let stays = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
            let name = &rest[..rest.find(|c| !stays(c)).unwrap_or(rest.len())];
            let keyword = KEYWORDS.iter().find(|k| name.eq_ignore_ascii_case(k));
            let token = match keyword.copied() {
                Some("true") => Token::Literal(Literal::Bool(true)),
                Some("false") => Token::Literal(Literal::Bool(false)),
                Some(keyword) => Token::Sign(keyword),
                None => Token::Column(name.into()),
            };
            Ok((token, name.len()))
        }
        '=' => bail!("'=' is no comparison; write '=='"),
        '&' => bail!("'&' is unknown; write 'and'"),
        '|' => bail!("'|' is unknown; write 'or'"),
        '~' | '!' => bail!("'{first}' is unknown; write 'not'"),
        other => bail!("{other:?} is unknown; a name with such characters goes in `backticks`"),
    }
}

/// What stands between quotes, in which a backslash takes the next character as it is; and the length with quotes.
fn quoted(rest: &str, quote: char) -> Result<(String, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => text.extend(chars.next().map(|(_, c)| c)),
            c if c == quote => return Ok((text, at + c.len_utf8())),
            c => text.push(c),
        }
    }
    bail!("{quote} is not closed")
}

/// All that belongs to a number or was stuck to it, so that the error about `5x` names it whole. A sign is part of it
/// at the start and behind `e`: `1e-5`, but `1-5` ends before the sign.
fn number(rest: &str) -> &str {
    let mut before = ' ';
    let end = rest.char_indices().find(|&(at, c)| {
        let sign = matches!(c, '+' | '-') && (at == 0 || matches!(before, 'e' | 'E'));
        before = c;
        !(sign || c == '.' || c == '_' || c.is_alphanumeric())
    });
    &rest[..end.map_or(rest.len(), |(at, _)| at)]
}

/// A column as it is typed. In backticks where a bare name would be read as something else: `cell type`, `not`, `5p`.
pub fn shown_column(name: &str) -> String {
    match token(name) {
        Ok((Token::Column(bare), _)) if bare == name => bare,
        _ => format!("`{}`", escaped(name, '`')),
    }
}

impl Token {
    /// The name of a column. Empty for other tokens.
    pub fn word(&self) -> &str {
        match self {
            Token::Column(name) => name,
            _ => "",
        }
    }
}

impl Literal {
    /// How a bool is written that was put in quotes, as the end of a sentence.
    pub fn without_quotes(&self) -> &'static str {
        match self {
            Literal::Text(text) if text.eq_ignore_ascii_case("true") => {
                "; write true, without quotes"
            }
            Literal::Text(text) if text.eq_ignore_ascii_case("false") => {
                "; write false, without quotes"
            }
            _ => "",
        }
    }

    /// As it is typed, text in these quotes.
    pub fn quoted(&self, quote: char) -> String {
        match self {
            Literal::Text(text) => format!("{quote}{}{quote}", escaped(text, quote)),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Token::Sign(sign) => write!(f, "'{sign}'"),
            Token::Column(name) => write!(f, "'{name}'"),
            Token::Literal(literal) => write!(f, "{literal}"),
            Token::End => write!(f, "the end"),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Literal::Number(text) => write!(f, "{text}"),
            Literal::Text(_) => f.write_str(&self.quoted('"')),
            Literal::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// Text to be put between these quotes: what [`quoted`] reads back.
pub fn escaped(text: &str, quote: char) -> String {
    let escaped = text.replace('\\', "\\\\");
    escaped.replace(quote, &format!("\\{quote}"))
}
