//! Images that come within the request.
//!
//! A URL that anybody would have to fetch is refused: the provider's fetch would carry data out of
//! the sandbox, and what comes back is not bounded.

const TYPES: [&str; 4] = ["png", "jpeg", "webp", "gif"];
const BLOCK_BYTES: usize = 4096;

/// Whether `url` is `data:image/(png|jpeg|webp|gif);base64,` and base64, to the letter.
pub(super) fn is_inline(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("data:image/") else {
        return false;
    };
    let Some((kind, data)) = rest.split_once(";base64,") else {
        return false;
    };
    TYPES.contains(&kind) && is_base64(data.as_bytes())
}

pub(super) fn is_base64(data: &[u8]) -> bool {
    let data = data.strip_suffix(b"=").unwrap_or(data);
    let data = data.strip_suffix(b"=").unwrap_or(data);
    // Without an exit in the inner loop the compiler compares many bytes at once.
    let all = |block: &[u8]| block.iter().fold(true, |so_far, byte| so_far & is_digit(*byte));
    !data.is_empty() && data.chunks(BLOCK_BYTES).all(all)
}

const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | (byte == b'+') | (byte == b'/')
}
