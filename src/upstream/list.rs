//! A provider's own list of its models.

use std::pin::Pin;
use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderValue, Request};
use http_body::Body as _;

use super::outgoing::{Outgoing, Sent};
use super::{Access, Client};

/// The longest that a list may take.
const WHOLE: Duration = Duration::from_secs(30);
/// The most bytes of a list. OpenRouter's, the longest known, has about one million.
const MOST_BYTES: usize = 32 << 20;

/// Why there is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Nobody answered, or the answer broke off.
    #[error("the provider did not answer")]
    NoAnswer,
    /// It took too long.
    #[error("the provider did not answer in time")]
    TimedOut,
    /// Another status than 200.
    #[error("the provider answered {0}")]
    Status(u16),
    /// More bytes than any list has.
    #[error("the provider's answer is longer than {MOST_BYTES} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the provider's answer is no text")]
    NoText,
}

impl Access {
    /// What the provider answers to `GET /models`.
    ///
    /// # Errors
    /// If it does not answer 200 with a text, in time.
    pub async fn list_models(&self, client: &Client) -> Result<String, ListError> {
        let read = tokio::time::timeout(WHOLE, self.read_list(client));
        read.await.unwrap_or(Err(ListError::TimedOut))
    }

    async fn read_list(&self, client: &Client) -> Result<String, ListError> {
        let mut request = Request::new(Outgoing::new(bytes::Bytes::new(), Sent::default()));
        *request.uri_mut() = self.models.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in self.endpoints.first().map(|it| &it.headers).into_iter().flatten() {
            headers.append(name.clone(), value.clone());
        }
        let answer = client.send(request, self.anywhere).await.map_err(|_| ListError::NoAnswer)?;
        if answer.status() != http::StatusCode::OK {
            return Err(ListError::Status(answer.status().as_u16()));
        }
        let mut body = answer.into_body();
        let mut list = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            let Ok(chunk) = frame.map_err(|_| ListError::NoAnswer)?.into_data() else { continue };
            if list.len() + chunk.len() > MOST_BYTES {
                return Err(ListError::TooLong);
            }
            list.extend_from_slice(&chunk);
        }
        String::from_utf8(list).map_err(|_| ListError::NoText)
    }
}
