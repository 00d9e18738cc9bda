//! The dashboard: one page for people, and the ES modules that bring it to life. All of it is in the binary, as it was
//! written: nothing is built or bundled, and nothing is fetched from elsewhere.
//!
//! The page asks the same routes as every other client. So it shows what its reader may see, and holds no rule of its own.

#[cfg(test)]
mod contrast;

use std::sync::LazyLock;

use actix_web::http::header::{ACCEPT, CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use actix_web::{HttpRequest, HttpResponse};

use super::openapi::doc::HTML;
use super::pages::guarded;
use super::path;
use super::problem::{Code, Problem, shorten};
use super::query::Query;

/// Scripts and styles of this service and of nobody else, and none that stand in the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub const CSS: &str = "text/css; charset=utf-8";
pub const SCRIPT: &str = "text/javascript; charset=utf-8";
pub const TEXT: &str = "text/plain; charset=utf-8";

struct Asset {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($name:literal, $media_type:expr) => {
        Asset {
            name: $name,
            media_type: $media_type,
            text: include_str!(concat!("assets/", $name)),
        }
    };
}

const ASSETS: &[Asset] = &[
    asset!("api.js", SCRIPT),
    asset!("app.js", SCRIPT),
    asset!("charts.js", SCRIPT),
    asset!("dom.js", SCRIPT),
    asset!("format.js", SCRIPT),
    asset!("freshness.js", SCRIPT),
    asset!("health.js", SCRIPT),
    asset!("held.js", SCRIPT),
    asset!("imports.js", SCRIPT),
    asset!("item.js", SCRIPT),
    asset!("machine.js", SCRIPT),
    asset!("metrics.js", SCRIPT),
    asset!("movements.js", SCRIPT),
    asset!("names.js", SCRIPT),
    asset!("poll.js", SCRIPT),
    asset!("runs-out.js", SCRIPT),
    asset!("search.js", SCRIPT),
    asset!("sells.js", SCRIPT),
    asset!("session.js", SCRIPT),
    asset!("stores.js", SCRIPT),
    asset!("stream.js", SCRIPT),
    asset!("style.css", CSS),
    asset!("theme.js", SCRIPT),
    asset!("traffic.js", SCRIPT),
    asset!("uplot-licence.txt", TEXT),
    asset!("uplot.css", CSS),
    asset!("uplot.js", SCRIPT),
];

/// Of each asset, by its text: a browser that has it already asks whether it is still this one.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |asset: &Asset| format!("W/\"{}\"", &blake3::hash(asset.text.as_bytes()).to_hex()[..16]);
    ASSETS.iter().map(tag).collect()
});

/// The names of all files of the dashboard.
pub fn names() -> impl Iterator<Item = &'static str> {
    ASSETS.iter().map(|asset| asset.name)
}

/// Browsers name HTML; programs that do not are told what this service is.
pub fn is_wanted(request: &HttpRequest) -> bool {
    let accepted = request.headers().get_all(ACCEPT);
    let mut types = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    types.any(|part| part.split(';').next().unwrap_or_default().trim() == "text/html")
}

/// `GET /`, for a browser
pub fn page() -> HttpResponse {
    let mut response = guarded(POLICY);
    response.insert_header((VARY, "Accept"));
    response.content_type(HTML).body(include_str!("assets/index.html"))
}

/// `GET /dashboard/{file}`
pub async fn file(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    let name = path::segment(&request, 2, "file")?;
    let found = ASSETS.iter().zip(TAGS.iter()).find(|(asset, _)| asset.name == name);
    let unknown = || {
        Problem::new(
            Code::NotFound,
            format!("The dashboard has no file {:?}.", shorten(&name)),
        )
    };
    let (asset, tag) = found.ok_or_else(unknown)?;
    // A browser may keep it, and asks each time: after an update no old module meets a new one.
    let (tag, keep) = ((ETAG, tag.as_str()), (CACHE_CONTROL, "no-cache"));
    if has(&request, tag.1) {
        return Ok(HttpResponse::NotModified()
            .insert_header(tag)
            .insert_header(keep)
            .finish());
    }
    let mut response = HttpResponse::Ok();
    response.insert_header(tag).insert_header(keep);
    Ok(response.content_type(asset.media_type).body(asset.text))
}

/// Whether the client has this version already, as far as it says so.
fn has(request: &HttpRequest, tag: &str) -> bool {
    let named = request.headers().get_all(IF_NONE_MATCH);
    let mut tags = named
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    tags.any(|given| given.trim() == tag)
}
