package fqgan

import (
	"context"
	"fmt"
	"image"
	"os"
	"testing"
	"time"
)

// TestOverhead measures the calls of tests/hosts/bench.c, and leaves the least times where FQGAN_BENCH says; one call
// must at least come back in a second.
func TestOverhead(t *testing.T) {
	r, err := NewRuntime(&RuntimeOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tokenizer, _ := openModels(t, r)
	ctx, img := context.Background(), image.NewNRGBA(image.Rect(0, 0, 4, 4))
	pixels := PixelsOf(img)
	best := [3]time.Duration{time.Second, time.Second, time.Second}
	least := func(i int, call func() error) {
		began := time.Now()
		if err := call(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < best[i] {
			best[i] = took
		}
	}
	for i := 0; i < 4000; i++ {
		var codes *Codes
		least(0, func() (err error) { codes, err = tokenizer.Encode(ctx, img); return })
		least(1, func() error { return tokenizer.DecodeInto(ctx, codes, 0, pixels) })
		least(2, func() error { _, err := codes.MarshalBinary(); return err })
	}
	for i, took := range best {
		if took == time.Second {
			t.Errorf("call %d takes a second", i)
		}
	}
	if path := os.Getenv("FQGAN_BENCH"); path != "" {
		line := fmt.Sprintln(best[0].Nanoseconds(), best[1].Nanoseconds(), best[2].Nanoseconds())
		if err := os.WriteFile(path, []byte(line), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
