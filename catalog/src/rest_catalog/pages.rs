//! Listings that come page by page.

use super::failure::Failure;
use super::http::{Call, Client};
use super::wire::Page;

/// Pages of one listing, after which the server is believed to go round in circles.
const MAX_PAGES: usize = 100_000;

impl Client {
    /// Hands the items of a listing to `take`, in their order, until it wants no more. `parameter`
    /// is where the token of a page goes; the first one has `first`.
    pub(super) async fn pages<P: Page>(
        &self,
        call: &Call,
        parameter: &'static str,
        first: Option<&str>,
        mut take: impl FnMut(P::Item) -> bool,
    ) -> Result<(), Failure> {
        let mut token = first.map(str::to_string);
        for _ in 0..MAX_PAGES {
            let call = match &token {
                Some(token) => call.clone().with(parameter, token.as_str()),
                None => call.clone(),
            };
            let (page, next) = self.fetch::<P>(&call).await?.into_parts();
            for item in page {
                if !take(item) {
                    return Ok(());
                }
            }
            match next {
                None => return Ok(()),
                Some(next) if Some(&next) == token.as_ref() => {
                    return Err(Failure::Unreadable {
                        reason: format!("the page after {next:?} is the same page"),
                    });
                }
                Some(next) => token = Some(next),
            }
        }
        Err(Failure::Unreadable {
            reason: "its listing has no end".to_string(),
        })
    }
}
