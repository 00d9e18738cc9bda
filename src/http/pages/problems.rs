//! A page per code, where the `type` of a problem leads.

use actix_web::http::header::{ACCEPT, VARY};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::html::{code as block, escape, inline, page};
use crate::http::advice::Retry;
use crate::http::openapi;
use crate::http::openapi::doc::HTML;
use crate::http::path;
use crate::http::problem::{Code, Problem, shorten};
use crate::http::query::Query;

/// What a code means and what to do about it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ProblemAdvice")]
pub struct AdviceForm {
    /// The code.
    #[schemars(extend("enum" = Code::ALL.map(Code::as_str)))]
    error: &'static str,
    status: u16,
    title: &'static str,
    cause: &'static str,
    remedy: &'static str,
    /// `never`: change the request first; `later`: when things have changed; `after_login`: with a valid token;
    /// `same_key`: the same request again.
    #[schemars(extend("enum" = Retry::ALL.map(Retry::as_str)))]
    retry: &'static str,
}

impl AdviceForm {
    pub fn of(code: Code) -> Self {
        let advice = code.advice();
        Self {
            error: code.as_str(),
            status: code.status().as_u16(),
            title: code.title(),
            cause: advice.cause,
            remedy: advice.remedy,
            retry: advice.retry.as_str(),
        }
    }
}

/// `GET /problems/{code}`
pub async fn get(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    let name = path::segment(&request, 2, "code")?;
    let unknown = || Problem::new(Code::NotFound, format!("There is no problem {:?}.", shorten(&name)));
    let code = Code::parse(&name).ok_or_else(unknown)?;
    let mut response = super::guarded(super::POLICY);
    response.insert_header((VARY, "Accept"));
    if wants_json(&request) {
        return Ok(response.json(AdviceForm::of(code)));
    }
    Ok(response.content_type(HTML).body(render(code)))
}

/// Browsers name HTML; a program that names JSON and not HTML gets JSON.
fn wants_json(request: &HttpRequest) -> bool {
    let accepted = request
        .headers()
        .get_all(ACCEPT)
        .filter_map(|value| value.to_str().ok());
    let types = accepted.flat_map(|value| value.split(','));
    let types: Vec<&str> = types
        .map(|part| part.split(';').next().unwrap_or_default().trim())
        .collect();
    let names = |media_type| types.contains(&media_type);
    (names("application/json") || names("application/problem+json")) && !names("text/html")
}

fn render(code: Code) -> String {
    let advice = code.advice();
    let members = |names: &[&str], when: &str| {
        let names: Vec<String> = names
            .iter()
            .map(|name| format!("<code>{}</code>", escape(name)))
            .collect();
        match names.as_slice() {
            [] => String::new(),
            names => format!("<p>{when}: {}.</p>\n", names.join(", ")),
        }
    };
    let added = members(advice.always, "Always") + &members(advice.sometimes, "Where they apply");
    let added = if added.is_empty() {
        "<p>None beside the common ones.</p>\n".to_owned()
    } else {
        added
    };
    let others = Code::ALL.into_iter().map(|other| {
        let name = other.as_str();
        let current = if other == code { " aria-current=\"page\"" } else { "" };
        format!("<li><a href=\"/problems/{name}\"{current}><code>{name}</code></a></li>\n")
    });
    let others: String = others.collect();
    let example = openapi::problems::example(code, "/api/inventory/stores/london/inventory/85123A/reserve");
    let body = format!(
        "<header class=\"top\"><a href=\"/api/docs\">Holdfast API</a></header>\n<main id=\"main\">\n\
         <h1>{title}</h1>\n<p><code>{name}</code>, status {status}</p>\n\
         <h2>What it means</h2>\n<p>{cause}</p>\n<h2>What to do</h2>\n<p>{remedy}</p>\n\
         <h2>Whether to try again</h2>\n<p>{retry}</p>\n<h2>Members that it adds</h2>\n{added}\
         <h2>Example</h2>\n{example}</main>\n\
         <nav aria-labelledby=\"all\"><h2 id=\"all\">All codes</h2>\n<ul class=\"codes\">\n{others}</ul></nav>\n",
        title = escape(code.title()),
        name = escape(code.as_str()),
        status = code.status().as_u16(),
        cause = inline(advice.cause),
        remedy = inline(advice.remedy),
        retry = inline(advice.retry.sentence()),
        example = block("Example", &format!("{example:#}")),
    );
    page(&format!("{} · Holdfast problems", code.title()), &body)
}
