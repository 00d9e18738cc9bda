//! HTML from text. Whatever comes from elsewhere goes through `escape`, or through what calls it.

/// Text as it may stand between tags and in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A line of text in which backticks set code.
pub fn inline(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(i, part)| match i % 2 {
        0 => escape(part),
        _ => format!("<code>{}</code>", escape(part)),
    });
    parts.collect()
}

/// Paragraphs, which blank lines part.
pub fn paragraphs(text: &str) -> String {
    text.split("\n\n")
        .map(|paragraph| format!("<p>{}</p>\n", inline(paragraph)))
        .collect()
}

/// A whole page; `body` is HTML, `title` is text.
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"/api/docs/style.css\">\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">To the content</a>\n{body}</body>\n</html>\n"
    )
}

/// A table that scrolls by itself where the screen is narrow; cells are HTML.
pub fn table(caption: &str, heads: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let caption = escape(caption);
    let heads: String = heads
        .iter()
        .map(|head| format!("<th scope=\"col\">{}</th>", escape(head)))
        .collect();
    let rows = rows.iter().map(|cells| {
        let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        format!("<tr>{cells}</tr>\n")
    });
    let rows: String = rows.collect();
    format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{caption}\"><table>\n\
         <caption>{caption}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

/// A block of code that scrolls by itself.
pub fn code(label: &str, text: &str) -> String {
    format!(
        "<pre role=\"region\" tabindex=\"0\" aria-label=\"{}\"><code>{}</code></pre>\n",
        escape(label),
        escape(text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_text_holds_becomes_a_tag() {
        let hostile = "<script>alert('1' & \"2\")</script>";
        let safe = "&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt;";
        assert_eq!(escape(hostile), safe);
        assert_eq!(inline(hostile), safe);
        assert_eq!(inline(&format!("a `{hostile}`")), format!("a <code>{safe}</code>"));
        let rendered = [
            page(hostile, ""),
            code(hostile, hostile),
            paragraphs(hostile),
            table(hostile, &[hostile], &[vec![]]),
        ];
        for html in rendered {
            assert!(!html.contains("<script"), "{html}");
        }
    }
}
