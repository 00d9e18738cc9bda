//! The OpenAPI document as a page: each operation with its parameters, body, answers and problems.

use std::sync::OnceLock;

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value};

use super::html::{code, escape, inline, page, paragraphs, table};
use super::start;
use crate::http::State;
use crate::http::openapi::doc::HTML;
use crate::http::openapi::{document, guide};
use crate::http::problem::Problem;
use crate::http::query::Query;

/// It says the same whether or not callers must log in.
static PAGE: OnceLock<Bytes> = OnceLock::new();

/// `GET /api/docs`
pub async fn get(state: Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    let page = PAGE.get_or_init(|| render(&document(&state).value).into());
    Ok(super::guarded(super::POLICY).content_type(HTML).body(page.clone()))
}

/// An operation and where it is found.
struct Operation<'a> {
    method: String,
    path: &'a str,
    about: &'a Value,
    /// Those of the path, then its own.
    parameters: Vec<&'a Value>,
}

fn render(document: &Value) -> String {
    let operations = operations(document);
    let info = &document["info"];
    let chapters = guide::CHAPTERS.iter().map(|chapter| {
        let (id, title) = (escape(chapter.id), escape(chapter.title));
        let text = paragraphs(chapter.text);
        format!("<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n{text}</section>\n")
    });
    let chapters: String = chapters.collect();
    let tags: String = tags(document).map(|tag| group(document, tag, &operations)).collect();
    let body = format!(
        "<header class=\"top\"><h1>Holdfast API</h1>\n<p>{summary}</p>\n\
         <p>Version {version}, {license} licence. For programs: <a href=\"/api/openapi.json\">openapi.json</a> \
         (OpenAPI 3.1).</p></header>\n<div class=\"columns\">\n{contents}<main id=\"main\">\n{start}{chapters}{tags}\
         {forms}</main>\n</div>\n",
        summary = escape(text(&info["summary"])),
        version = escape(text(&info["version"])),
        license = escape(text(&info["license"]["name"])),
        contents = contents(document, &operations),
        start = start::render(),
        forms = forms(document),
    );
    page("Holdfast API", &body)
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut found = Vec::new();
    for (path, item) in members(&document["paths"]) {
        for (method, about) in members(item).filter(|(name, _)| *name != "parameters") {
            let parameters = entries(&item["parameters"]).chain(entries(&about["parameters"]));
            found.push(Operation {
                method: method.to_uppercase(),
                path,
                about,
                parameters: parameters.map(|parameter| resolve(document, parameter)).collect(),
            });
        }
    }
    found
}

fn tags(document: &Value) -> impl Iterator<Item = &Value> {
    entries(&document["tags"])
}

fn of_tag<'a>(tag: &'a Value, operations: &'a [Operation<'a>]) -> impl Iterator<Item = &'a Operation<'a>> {
    operations
        .iter()
        .filter(|operation| operation.about["tags"][0] == tag["name"])
}

fn contents(document: &Value, operations: &[Operation]) -> String {
    let chapters = guide::CHAPTERS.iter().map(|chapter| link(chapter.id, chapter.title));
    let groups = tags(document).map(|tag| {
        let routes = of_tag(tag, operations).map(|operation| {
            let id = escape(text(&operation.about["operationId"]));
            let (method, summary) = (escape(&operation.method), inline(text(&operation.about["summary"])));
            format!("<li><a href=\"#{id}\"><b>{method}</b> {summary}</a></li>\n")
        });
        let routes: String = routes.collect();
        let name = text(&tag["name"]);
        format!(
            "<li><a href=\"#{}\">{}</a>\n<ul>\n{routes}</ul></li>\n",
            anchor(name),
            escape(name)
        )
    });
    let entries: String = std::iter::once(link("start", start::TITLE))
        .chain(chapters)
        .chain(groups)
        .chain([link("forms", "Forms")])
        .collect();
    format!(
        "<nav class=\"contents\" aria-labelledby=\"contents\">\n<h2 id=\"contents\">Contents</h2>\n<ul>\n{entries}</ul>\n</nav>\n"
    )
}

fn link(id: &str, title: &str) -> String {
    format!("<li><a href=\"#{}\">{}</a></li>\n", escape(id), escape(title))
}

fn group(document: &Value, tag: &Value, operations: &[Operation]) -> String {
    let name = text(&tag["name"]);
    let routes: String = of_tag(tag, operations)
        .map(|operation| route(document, operation))
        .collect();
    format!(
        "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{}</h2>\n<p>{}</p>\n{routes}</section>\n",
        escape(name),
        inline(text(&tag["description"])),
        id = anchor(name)
    )
}

fn route(document: &Value, operation: &Operation) -> String {
    let about = operation.about;
    format!(
        "<article aria-labelledby=\"{id}\">\n<h3 id=\"{id}\"><span class=\"method\">{method}</span> \
         <code>{path}</code></h3>\n<p><strong>{summary}.</strong> {access}</p>\n{description}{parameters}{body}{answers}</article>\n",
        id = escape(text(&about["operationId"])),
        method = escape(&operation.method),
        path = escape(operation.path),
        summary = inline(text(&about["summary"])),
        access = access(about),
        description = paragraphs(text(&about["description"])),
        parameters = parameters(operation),
        body = body(document, about),
        answers = answers(about),
    )
}

/// Whose token an operation needs, where callers must log in.
fn access(about: &Value) -> String {
    let roles = entries(&about["security"]).flat_map(|scheme| entries(&scheme["bearer"]));
    match roles.map(text).next() {
        Some("viewer") => "With authentication: any token.".to_owned(),
        Some(role) => format!(
            "With authentication: a token with the role <code>{}</code>, or one above it.",
            escape(role)
        ),
        None => "Open to everybody.".to_owned(),
    }
}

fn parameters(operation: &Operation) -> String {
    let rows = operation.parameters.iter().map(|parameter| {
        let schema = &parameter["schema"];
        let place = match text(&parameter["in"]) {
            "header" => "header",
            "path" => "path",
            _ => "query",
        };
        vec![
            format!("<code>{}</code>", escape(text(&parameter["name"]))),
            place.to_owned(),
            type_of(schema),
            limits(schema),
            need(parameter["required"] == true),
            inline(text(&parameter["description"])),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let title = format!("Parameters of {}", text(&operation.about["operationId"]));
    let heads = ["Name", "In", "Type", "Limits", "Required", "Meaning"];
    format!("<h4>Parameters</h4>\n{}", table(&title, &heads, &rows))
}

fn body(document: &Value, about: &Value) -> String {
    let content = &about["requestBody"]["content"]["application/json"];
    if content.is_null() {
        return body_of_text(about);
    }
    let schema = resolve(document, &content["schema"]);
    let schema = match &schema["items"] {
        Value::Null => schema,
        row => resolve(document, row),
    };
    let id = text(&about["operationId"]);
    format!(
        "<h4>Body</h4>\n<p>{}</p>\n{}{}",
        inline(text(&schema["description"])),
        member_table(document, &format!("Members of the body of {id}"), schema),
        code(&format!("Example body of {id}"), &format!("{:#}", content["example"])),
    )
}

/// What is no JSON is shown by its examples, if there is a body at all.
fn body_of_text(about: &Value) -> String {
    let id = text(&about["operationId"]);
    let examples = members(&about["requestBody"]["content"]).map(|(media_type, content)| {
        let name = escape(media_type);
        let label = format!("Example body of {id} as {media_type}");
        format!(
            "<p><code>{name}</code></p>\n{}",
            code(&label, text(&content["example"]))
        )
    });
    let examples: String = examples.collect();
    match examples.is_empty() {
        true => examples,
        false => format!("<h4>Body</h4>\n{examples}"),
    }
}

fn member_table(document: &Value, caption: &str, schema: &Value) -> String {
    let is_required = |name: &str| entries(&schema["required"]).any(|required| required == name);
    let mut rows: Vec<(bool, Vec<String>)> = Vec::new();
    for (name, member) in members(&schema["properties"]) {
        let about = match text(&member["description"]) {
            "" => text(&resolve(document, member)["description"]),
            about => about,
        };
        let cells = vec![
            format!("<code>{}</code>", escape(name)),
            type_of(member),
            limits(member),
            need(is_required(name)),
            inline(about),
        ];
        rows.push((is_required(name), cells));
    }
    // What must be there comes first.
    rows.sort_by_key(|(is_required, _)| !is_required);
    let rows: Vec<_> = rows.into_iter().map(|(_, cells)| cells).collect();
    table(caption, &["Member", "Type", "Limits", "Required", "Meaning"], &rows)
}

fn answers(about: &Value) -> String {
    let id = text(&about["operationId"]);
    let mut rows = Vec::new();
    let mut examples = String::new();
    for (status, answer) in members(&about["responses"]) {
        let headers: Vec<String> = members(&answer["headers"])
            .map(|(name, _)| format!("<code>{}</code>", escape(name)))
            .collect();
        let forms: Vec<String> = members(&answer["content"])
            .map(|(media_type, content)| form(media_type, content))
            .collect();
        let forms = if forms.is_empty() {
            "no body".to_owned()
        } else {
            forms.join(" or ")
        };
        let problems = members(&answer["content"]["application/problem+json"]["examples"]);
        let problems: Vec<String> = problems.map(|(code, _)| problem_link(code)).collect();
        let meaning = match problems.as_slice() {
            [] => inline(text(&answer["description"])),
            problems => problems.join(", "),
        };
        rows.push(vec![escape(status), meaning, forms, headers.join(", ")]);
        examples += &example_of(id, status, answer);
    }
    let caption = format!("Answers of {id}");
    let table = table(&caption, &["Status", "Meaning", "Form", "Headers"], &rows);
    format!("<h4>Answers</h4>\n{table}{examples}")
}

fn form(media_type: &str, content: &Value) -> String {
    match media_type {
        "application/json" => type_of(&content["schema"]),
        "application/problem+json" => "<a href=\"#form-Problem\">Problem</a>".to_owned(),
        other => format!("<code>{}</code>", escape(other)),
    }
}

fn problem_link(code: &str) -> String {
    let name = escape(code);
    format!("<a href=\"/problems/{name}\"><code>{name}</code></a>")
}

/// An answer that succeeds, folded up; a refusal's is on the page of its code.
fn example_of(id: &str, status: &str, answer: &Value) -> String {
    let content = &answer["content"]["application/json"];
    if content["example"].is_null() {
        return String::new();
    }
    let label = format!("Example of {status} of {id}");
    format!(
        "<details><summary>Example of {}</summary>\n{}</details>\n",
        escape(status),
        code(&label, &format!("{:#}", content["example"]))
    )
}

fn forms(document: &Value) -> String {
    let forms = members(&document["components"]["schemas"]).map(|(name, schema)| {
        let about = inline(text(&schema["description"]));
        let shape = if schema["properties"].is_object() {
            member_table(document, &format!("Members of {name}"), schema)
        } else {
            format!("<p>{}. {}</p>\n", type_of(schema), limits(schema))
        };
        let name = escape(name);
        format!("<h3 id=\"form-{name}\">{name}</h3>\n<p>{about}</p>\n{shape}")
    });
    let forms: String = forms.collect();
    format!("<section aria-labelledby=\"forms\">\n<h2 id=\"forms\">Forms</h2>\n{forms}</section>\n")
}

/// What a schema takes, in a word or two.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|reference| reference.rsplit('/').next())
    {
        let name = escape(name);
        return format!("<a href=\"#form-{name}\">{name}</a>");
    }
    for choice in ["anyOf", "oneOf"] {
        if schema["type"].is_null() && schema[choice].is_array() {
            return entries(&schema[choice]).map(type_of).collect::<Vec<_>>().join(" or ");
        }
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => {
            let row = entries(&schema["prefixItems"]).next().unwrap_or(&schema["items"]);
            format!("list of {}", type_of(row))
        }
        Value::String(name) => escape(name),
        Value::Array(names) => names
            .iter()
            .map(|name| escape(text(name)))
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "any".to_owned(),
    }
}

/// What else must be true of a value; of a form that has a name, the form says it.
fn limits(schema: &Value) -> String {
    let of = |keyword: &str| Some(&schema[keyword]).filter(|value| !value.is_null());
    let code = |value: &Value| {
        let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("<code>{}</code>", escape(&written))
    };
    let number = |value: &Value| escape(&value.to_string());
    let range = |lowest: &str, highest: &str, unit: &str| match (of(lowest), of(highest)) {
        (None, None) => None,
        (Some(lowest), None) => Some(format!("from {}{unit}", number(lowest))),
        (None, Some(highest)) => Some(format!("up to {}{unit}", number(highest))),
        (Some(lowest), Some(highest)) => Some(format!("{} to {}{unit}", number(lowest), number(highest))),
    };
    let is_text = schema["type"] == "string";
    let said = [
        range("minimum", "maximum", ""),
        range("minLength", "maxLength", " characters"),
        range("minItems", "maxItems", " entries"),
        of("format").filter(|_| is_text).map(code),
        of("pattern").map(|pattern| format!("matches {}", code(pattern))),
        of("const").map(|only| format!("only {}", code(only))),
        of("enum").map(|choices| entries(choices).map(code).collect::<Vec<_>>().join(", ")),
        of("default").map(|default| format!("default {}", code(default))),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn need(is_required: bool) -> String {
    if is_required { "yes" } else { "no" }.to_owned()
}

/// What a reference stands for, or the value itself.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    target.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

fn anchor(name: &str) -> String {
    escape(&name.to_lowercase().replace(' ', "-"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn entries(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let members: Option<&Map<String, Value>> = value.as_object();
    members
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_escapes_what_the_document_says() {
        let hostile = "<script>\"&'</script>";
        let document = json!({
            "info": {"summary": hostile, "version": hostile, "license": {"name": hostile}},
            "tags": [{"name": hostile, "description": hostile}],
            "paths": {hostile: {hostile: {
                "operationId": hostile, "tags": [hostile], "summary": hostile, "description": hostile,
                "parameters": [{
                    "name": hostile, "in": hostile, "description": hostile,
                    "schema": {"type": hostile, "pattern": hostile, "enum": [hostile], "default": [hostile]},
                }],
                "requestBody": {"content": {"application/json": {
                    "schema": {"properties": {hostile: {"$ref": hostile, "description": hostile}}},
                    "example": {hostile: hostile},
                }}},
                "responses": {hostile: {
                    "description": hostile, "headers": {hostile: {}},
                    "content": {hostile: {}, "application/json": {"schema": {"type": [hostile]}, "example": hostile}},
                }},
            }}},
            "components": {"schemas": {hostile: {"description": hostile, "properties": {hostile: {}}}}},
        });
        let page = render(&document);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    }
}
