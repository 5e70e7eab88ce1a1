//! Pages that need nothing beside them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fqgan::image::Picture;

/// A page of HTML in the making.
pub struct Page {
    title: String,
    table: String,
    body: String,
}

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#111;background:#fff}\
table{border-collapse:collapse}td{padding:.15em 1.5em .15em 0;border-bottom:1px solid #ddd}\
td+td{font-variant-numeric:tabular-nums}figure{margin:2em 0}img{max-width:100%;height:auto;image-rendering:auto}";

impl Page {
    pub fn new(title: &str) -> Page {
        Page { title: escaped(title), table: String::new(), body: String::new() }
    }

    /// Names and values under the title.
    pub fn table(mut self, rows: &[(String, String)]) -> Page {
        for (name, value) in rows {
            self.table += &format!("<tr><td>{}</td><td>{}</td></tr>\n", escaped(name), escaped(value));
        }
        self
    }

    /// A picture with words under it.
    pub fn picture(&mut self, caption: &str, picture: &Picture) -> fqgan::Result<()> {
        let mut png = Vec::new();
        picture.write_png(&mut png)?;
        let caption = escaped(caption);
        self.body += &format!(
            "<figure><img alt=\"{caption}\" width=\"{}\" height=\"{}\" src=\"data:image/png;base64,{}\">\
             <figcaption>{caption}</figcaption></figure>\n",
            picture.width(),
            picture.height(),
            STANDARD.encode(png)
        );
        Ok(())
    }

    /// A drawing in SVG with words under it.
    pub fn drawing(&mut self, caption: &str, svg: &str) {
        self.body += &format!("<figure>{svg}<figcaption>{}</figcaption></figure>\n", escaped(caption));
    }

    /// The page's text.
    pub fn finish(self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>\
             <link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head>\n<body><h1>{0}</h1>\n<table>\n{1}</table>\n{2}</body></html>\n",
            self.title, self.table, self.body
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
