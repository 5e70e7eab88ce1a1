package fqgan

import (
	"os"
	"path/filepath"
	"testing"
)

// at is a file that the Rust tests leave: scripts/hosts.sh makes them and says where.
func at(name string) string {
	folder := os.Getenv("FQGAN_TEST_FILES")
	if folder == "" {
		folder = filepath.Join("..", "..", "target", "tmp")
	}
	return filepath.Join(folder, name)
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	bytes, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run scripts/hosts.sh go, which makes it", err)
	}
	return bytes
}

func openModels(t testing.TB, r *Runtime) (*Tokenizer, *Generator) {
	t.Helper()
	tokenizer, err := OpenTokenizer(r, at("capi-tokenizer.safetensors"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tokenizer.Close() })
	generator, err := OpenGenerator(r, at("capi-generator.safetensors"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { generator.Close() })
	return tokenizer, generator
}
