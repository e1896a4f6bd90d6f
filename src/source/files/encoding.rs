//! From the bytes of a file to UTF-8: what is compressed is unpacked, what is UTF-16 is transcoded; all by how it
//! begins, never by its name, and in a stream.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, UTF_16BE, UTF_16LE};
use flate2::read::MultiGzDecoder;

use super::ahead::Ahead;
use super::window::Window;

/// Enough of a beginning to tell UTF-16 without a byte order mark: 32 characters.
const HEAD_BYTES: usize = 64;

/// How much UTF-16 is transcoded at a time.
const TRANSCODE_BYTES: usize = 64 << 10;

/// So many characters in a row that are one byte out of place tell that a byte is missing: no language writes `∀` or `㨀` and
/// eleven more of which each is the first of its block.
const OUT_OF_PLACE: usize = 12;

/// How much is given to the zstd decoder at a time. What it has unpacked of a piece in which it meets something broken is
/// lost, so pieces are small beside a block (128 KiB).
const ZSTD_BYTES: usize = 8 << 10;

/// The text of a file, as UTF-8 if it is text at all.
pub(super) fn text(input: Box<dyn Read + Send>) -> io::Result<Window<Box<dyn Read + Send>>> {
    let mut plain = unpacked(input)?;
    let Some(encoding) = utf16(plain.head(HEAD_BYTES)) else { return Ok(plain) };
    let decoder = encoding.new_decoder_with_bom_removal();
    let is_big_endian = encoding == UTF_16BE;
    let transcoded = Transcoded { input: plain, decoder, is_big_endian, text: Vec::new(), at: 0, ended: false };
    Ok(Window::new(Box::new(transcoded)))
}

/// Several gzip members or zstd frames one behind another are one file, as their own tools have it. A zstd frame that
/// wants more than 128 MiB of memory (`--long` above 27) is refused by the decoder.
fn unpacked(input: Box<dyn Read + Send>) -> io::Result<Window<Box<dyn Read + Send>>> {
    let mut raw = Window::new(input);
    let unpacked: Box<dyn Read + Send> = match raw.head(4) {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(io::BufReader::new(raw))),
        // A frame, or one to be skipped, which parallel compressors put first.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            Box::new(zstd::stream::read::Decoder::with_buffer(io::BufReader::with_capacity(ZSTD_BYTES, raw))?)
        }
        _ => return Ok(raw),
    };
    Ok(Window::new(Box::new(Ahead::of(unpacked)?)))
}

/// UTF-16 by its byte order mark, or by every second byte of its beginning being zero.
fn utf16(head: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    match head {
        // UTF-32 begins like UTF-16, and goes on with a zero character.
        [0xff, 0xfe, 0, 0, ..] => return None,
        [0xff, 0xfe, ..] => return Some(UTF_16LE),
        [0xfe, 0xff, ..] => return Some(UTF_16BE),
        _ => {}
    }
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    let all = |first: fn(&u8) -> bool, of: usize| head.iter().skip(of).step_by(2).all(first);
    let texts = |of: usize| head.iter().skip(of).step_by(2).all(is_text);
    match head.len() {
        0..4 => None,
        _ if texts(0) && all(|byte| *byte == 0, 1) => Some(UTF_16LE),
        _ if all(|byte| *byte == 0, 0) && texts(1) => Some(UTF_16BE),
        _ => None,
    }
}

/// Text that is transcoded while it is read. Half a character becomes U+FFFD, as everywhere; where a byte is missing, what
/// comes behind it is found again.
struct Transcoded<R> {
    input: Window<R>,
    decoder: Decoder,
    is_big_endian: bool,
    text: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> Transcoded<R> {
    fn transcode(&mut self) {
        let shown = self.input.head(TRANSCODE_BYTES + 2 * OUT_OF_PLACE);
        self.ended = shown.is_empty();
        let out_of_place = out_of_place(shown, self.is_big_endian).filter(|&at| at < TRANSCODE_BYTES);
        let raw = shown.get(..out_of_place.unwrap_or(TRANSCODE_BYTES)).unwrap_or(shown);
        let room = self.decoder.max_utf8_buffer_length(raw.len()).unwrap_or(4 * TRANSCODE_BYTES);
        self.text.resize(room, 0);
        let (result, read, written, _) = self.decoder.decode_to_utf8(raw, &mut self.text, self.ended);
        debug_assert!(matches!(result, CoderResult::InputEmpty), "there was room for all of it");
        self.text.truncate(written);
        self.at = 0;
        self.input.consume(read + usize::from(out_of_place.is_some()));
    }
}

/// Where text begins of which each character lies across two: as one of ASCII would, and first a mark that JSON is full of.
fn out_of_place(text: &[u8], is_big_endian: bool) -> Option<usize> {
    let across = |pair: &[u8]| match (pair, is_big_endian) {
        (&[ascii, 0], true) | (&[0, ascii], false) => Some(ascii).filter(|ascii| matches!(ascii, b'\t'..=b'~')),
        _ => None,
    };
    let is_mark = |pair| matches!(across(pair), Some(b'"' | b'{' | b':' | b',' | b'\n'));
    let is_run = |at: usize| {
        let run = text.get(at..at + 2 * OUT_OF_PLACE).unwrap_or_default();
        !run.is_empty() && run.chunks_exact(2).all(|pair| across(pair).is_some())
    };
    let marks = text.chunks_exact(2).enumerate().filter(|(_, pair)| is_mark(pair));
    marks.map(|(pair, _)| 2 * pair).find(|&at| is_run(at))
}

impl<R: Read> Read for Transcoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() && !self.ended {
            self.transcode();
        }
        if self.at == self.text.len()
            && let Some(error) = self.input.failure()
        {
            return Err(error);
        }
        let mut rest = self.text.get(self.at..).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.at += read;
        Ok(read)
    }
}
