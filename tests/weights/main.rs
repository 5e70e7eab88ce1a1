//! Weight files: reading, writing, inferring, and what hostile files may not do.

mod safetensors;
