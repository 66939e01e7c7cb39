//! SQL functions of SQLite's, written once more so that they stop when their turn is terminated.
//!
//! The progress handler is asked between the steps of a statement, and a function call is one step. These take time
//! proportional to the product of their arguments' sizes, hours for two strings of 16 MiB; ours look at the interrupt every
//! few milliseconds. Their results are SQLite's to the byte: `tests.rs` compares them with a connection that has the originals.
//!
//! Measured and left alone: `LIKE` and `GLOB` (patterns have at most 50 bytes and SQLite gives up where no match can follow:
//! about a second for 16 MiB; replacing them would lose the index for `LIKE 'a%'`), everything that takes time proportional to its
//! arguments. Not bounded: `json_patch` and `jsonb_patch` of two large objects, FTS5's `highlight` and `snippet` over a text
//! with many hits, sorting long texts. They run to their end; the host gives their isolate up (DECISIONS, "An isolate that
//! does not stop is abandoned").

use std::ffi::CStr;

use crate::Interrupt;

/// An argument as text or blob; numbers are text by now.
#[derive(Clone, Copy, Default)]
pub(crate) struct Argument<'a> {
    /// `None`: NULL.
    pub(crate) bytes: Option<&'a [u8]>,
    pub(crate) is_blob: bool,
}

pub(crate) enum Answer {
    Null,
    Integer(i64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
    TooBig,
}

/// The turn is being terminated.
pub(crate) struct Stopped;

pub(crate) type Function = fn(&[Argument<'_>; 3], &mut Work<'_>) -> Result<Answer, Stopped>;

/// Name, number of arguments, what it does.
pub(crate) const FUNCTIONS: [(&CStr, i32, Function); 6] = [
    (c"instr", 2, instr),
    (c"replace", 3, replace),
    (c"trim", 2, |args, work| trim(args, work, true, true)),
    (c"ltrim", 2, |args, work| trim(args, work, true, false)),
    (c"rtrim", 2, |args, work| trim(args, work, false, true)),
    (c"unhex", 2, unhex),
];

/// Bytes looked at between two looks at the interrupt: about a millisecond.
const BYTES_PER_LOOK: usize = 1 << 20;

pub(crate) struct Work<'a> {
    interrupt: Option<&'a Interrupt>,
    until_look: usize,
    /// SQLite's limit for one value.
    bytes_max: usize,
}

impl<'a> Work<'a> {
    pub(crate) fn new(interrupt: Option<&'a Interrupt>, bytes_max: usize) -> Self {
        Self {
            interrupt,
            until_look: BYTES_PER_LOOK,
            bytes_max,
        }
    }

    /// Call it for about every byte looked at.
    fn spend(&mut self, bytes: usize) -> Result<(), Stopped> {
        if let Some(left) = self.until_look.checked_sub(bytes) {
            self.until_look = left;
            return Ok(());
        }
        self.until_look = BYTES_PER_LOOK;
        if self.interrupt.is_some_and(|interrupt| interrupt()) {
            Err(Stopped)
        } else {
            Ok(())
        }
    }

    /// Does `text` begin with `start`?
    fn starts(&mut self, text: &[u8], start: &[u8]) -> Result<bool, Stopped> {
        if text.first() != start.first() || text.len() < start.len() {
            self.spend(1)?;
            return Ok(text.len() >= start.len() && start.is_empty());
        }
        self.spend(start.len())?;
        Ok(text.starts_with(start))
    }
}

/// How many bytes the first character of `text` has, by SQLite's reading of what need not be UTF-8.
fn character_bytes(text: &[u8]) -> usize {
    if text.first().is_some_and(|first| *first >= 0xc0) {
        1 + continuation_bytes(&text[1..])
    } else {
        text.len().min(1)
    }
}

fn continuation_bytes(text: &[u8]) -> usize {
    text.iter().take_while(|byte| **byte & 0xc0 == 0x80).count()
}

/// The position of the second in the first, from 1, in characters unless both are blobs.
fn instr(args: &[Argument<'_>; 3], work: &mut Work<'_>) -> Result<Answer, Stopped> {
    let (Some(text), Some(wanted)) = (args[0].bytes, args[1].bytes) else {
        return Ok(Answer::Null);
    };
    let in_bytes = args[0].is_blob && args[1].is_blob;
    let (mut at, mut position) = (0, 1);
    while !wanted.is_empty() {
        let rest = &text[at..];
        if rest.len() < wanted.len() {
            return Ok(Answer::Integer(0));
        }
        if work.starts(rest, wanted)? {
            break;
        }
        position += 1;
        at += 1;
        if !in_bytes {
            at += continuation_bytes(&text[at..]);
        }
    }
    Ok(Answer::Integer(position))
}

fn replace(args: &[Argument<'_>; 3], work: &mut Work<'_>) -> Result<Answer, Stopped> {
    let (Some(text), Some(wanted)) = (args[0].bytes, args[1].bytes) else {
        return Ok(Answer::Null);
    };
    if matches!(wanted.first(), None | Some(0)) {
        return Ok(Answer::Text(text.to_vec()));
    }
    let Some(by) = args[2].bytes else {
        return Ok(Answer::Null);
    };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    let mut length = text.len();
    while text.len() - at >= wanted.len() {
        if work.starts(&text[at..], wanted)? {
            length = length - wanted.len() + by.len();
            if by.len() > wanted.len() && length > work.bytes_max {
                return Ok(Answer::TooBig);
            }
            work.spend(by.len())?;
            out.extend_from_slice(by);
            at += wanted.len();
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out.extend_from_slice(&text[at..]);
    Ok(Answer::Text(out))
}

fn trim(
    args: &[Argument<'_>; 3],
    work: &mut Work<'_>,
    left: bool,
    right: bool,
) -> Result<Answer, Stopped> {
    let (Some(mut text), Some(set)) = (args[0].bytes, args[1].bytes) else {
        return Ok(Answer::Null);
    };
    // As C reads it: to the first zero byte.
    let mut set = set.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut characters = Vec::new();
    while !set.is_empty() {
        let (character, rest) = set.split_at(character_bytes(set));
        work.spend(character.len())?;
        characters.push(character);
        set = rest;
    }
    // Of several that fit (none need be UTF-8) the first one counts.
    'left: while left && !text.is_empty() {
        for character in &characters {
            if work.starts(text, character)? {
                text = &text[character.len()..];
                continue 'left;
            }
        }
        break;
    }
    'right: while right && !text.is_empty() {
        for character in &characters {
            work.spend(character.len())?;
            if let Some(rest) = text.strip_suffix(*character) {
                text = rest;
                continue 'right;
            }
        }
        break;
    }
    Ok(Answer::Text(text.to_vec()))
}

/// Hexadecimal digits as bytes; between two pairs there may be characters of the second argument.
fn unhex(args: &[Argument<'_>; 3], work: &mut Work<'_>) -> Result<Answer, Stopped> {
    let (Some(text), Some(passed)) = (args[0].bytes, args[1].bytes) else {
        return Ok(Answer::Null);
    };
    let mut text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len() / 2);
    while !text.is_empty() {
        work.spend(1)?;
        if let Some(high) = digit(text.first()) {
            let Some(low) = digit(text.get(1)) else {
                return Ok(Answer::Null);
            };
            out.push(u8::try_from(high << 4 | low).unwrap_or(0));
            text = &text[2..];
            continue;
        }
        let (wanted, rest) = read_character(text);
        let mut among = passed;
        loop {
            if among.is_empty() {
                return Ok(Answer::Null);
            }
            let (character, behind) = read_character(among);
            work.spend(among.len() - behind.len())?;
            if character == wanted {
                break;
            }
            among = behind;
        }
        text = rest;
    }
    Ok(Answer::Blob(out))
}

/// The code point SQLite reads, and what follows. What is no UTF-8 has one too; several spellings may have the same.
fn read_character(text: &[u8]) -> (u32, &[u8]) {
    let (here, rest) = text.split_at(character_bytes(text));
    let first = u32::from(here.first().copied().unwrap_or(0));
    if first < 0xc0 {
        return (first, rest);
    }
    // How many bits of the first byte count.
    let kept = match first {
        0xc0..=0xdf => first & 0x1f,
        0xe0..=0xef => first & 0x0f,
        0xf0..=0xf7 => first & 0x07,
        0xf8..=0xfb => first & 0x03,
        0xfc..=0xfd => first & 0x01,
        _ => 0,
    };
    let point = here[1..].iter().fold(kept, |point, byte| {
        point.wrapping_shl(6).wrapping_add(u32::from(byte & 0x3f))
    });
    let no_character =
        point < 0x80 || point & 0xffff_f800 == 0xd800 || point & 0xffff_fffe == 0xfffe;
    (if no_character { 0xfffd } else { point }, rest)
}
