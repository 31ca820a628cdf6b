//! Where a file can be cut into parts that hold whole records.
//!
//! A line end inside quotes does not end a record, and from the middle of a file nobody can
//! tell whether it is inside quotes. So the file is followed from its beginning, which is
//! cheap where there are no quotes.

use super::CsvDialect;

/// Follows quotes through a file and notes where records end.
#[derive(Debug)]
pub(super) struct SplitFinder {
    delimiter: u8,
    quote: u8,
    state: State,
    /// Bytes followed so far.
    offset: u64,
    part_bytes: u64,
    part_start: u64,
    splits: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote in a quoted field: its end, or the first half of a doubled quote.
    QuoteInQuoted,
}

impl SplitFinder {
    /// Looks for parts of at least `part_bytes`. Dialects with an escape character are not
    /// followed; their files are read whole.
    pub(super) fn new(dialect: &CsvDialect, part_bytes: u64) -> Option<Self> {
        if dialect.escape.is_some() {
            return None;
        }
        Some(Self {
            delimiter: dialect.delimiter,
            quote: dialect.quote,
            state: State::FieldStart,
            offset: 0,
            part_bytes,
            part_start: 0,
            splits: Vec::new(),
        })
    }

    /// Takes the next bytes of the file.
    pub(super) fn follow(&mut self, bytes: &[u8]) {
        let is_outside_quotes = matches!(self.state, State::FieldStart | State::Unquoted);
        if is_outside_quotes && !bytes.contains(&self.quote) {
            self.follow_without_quotes(bytes);
        } else {
            for byte in bytes {
                self.offset += 1;
                self.state = self.next_state(*byte);
                if *byte == b'\n' && self.state == State::FieldStart {
                    self.note_record_end();
                }
            }
        }
    }

    fn follow_without_quotes(&mut self, bytes: &[u8]) {
        let start = self.offset;
        let end = start + bytes.len() as u64;
        loop {
            let wanted = self.part_start + self.part_bytes;
            let from = wanted.saturating_sub(1).max(start);
            if from >= end {
                break;
            }
            let rest = &bytes[(from - start) as usize..];
            match rest.iter().position(|byte| *byte == b'\n') {
                Some(position) => {
                    self.offset = from + position as u64 + 1;
                    self.note_record_end();
                }
                None => break,
            }
        }
        self.offset = end;
        if let Some(last) = bytes.last() {
            self.state = match *last {
                byte if byte == self.delimiter || byte == b'\n' || byte == b'\r' => {
                    State::FieldStart
                }
                _ => State::Unquoted,
            };
        }
    }

    fn next_state(&self, byte: u8) -> State {
        let after_unquoted = |byte: u8| match byte {
            b'\n' | b'\r' => State::FieldStart,
            byte if byte == self.delimiter => State::FieldStart,
            _ => State::Unquoted,
        };
        match self.state {
            State::FieldStart if byte == self.quote => State::Quoted,
            State::FieldStart | State::Unquoted => after_unquoted(byte),
            State::Quoted if byte == self.quote => State::QuoteInQuoted,
            State::Quoted => State::Quoted,
            State::QuoteInQuoted if byte == self.quote => State::Quoted,
            State::QuoteInQuoted => after_unquoted(byte),
        }
    }

    fn note_record_end(&mut self) {
        if self.offset - self.part_start >= self.part_bytes {
            self.splits.push(self.offset);
            self.part_start = self.offset;
        }
    }

    /// Starts of the parts after the first, ascending; all but the last part have at least
    /// the bytes asked for.
    pub(super) fn finish(self) -> Vec<u64> {
        self.splits
            .into_iter()
            .filter(|split| *split < self.offset)
            .collect()
    }
}
