package fqgan_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"time"

	"fqgan"
)

func model(name string) string {
	folder := os.Getenv("FQGAN_TEST_FILES")
	if folder == "" {
		folder = filepath.Join("..", "..", "target", "tmp")
	}
	return filepath.Join(folder, name)
}

func ExampleTokenizer() {
	tokenizer, err := fqgan.OpenTokenizer(nil, model("capi-tokenizer.safetensors"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tokenizer.Close()

	ctx := context.Background()
	codes, err := tokenizer.Encode(ctx, image.NewNRGBA(image.Rect(0, 0, 32, 32)))
	if err != nil {
		fmt.Println(err)
		return
	}
	bytes, err := codes.MarshalBinary()
	if err != nil {
		fmt.Println(err)
		return
	}
	images, err := tokenizer.Decode(ctx, codes, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d x %d codes in %d sub-codebooks, %d bytes\n", codes.GridWidth, codes.GridHeight, codes.Codebooks, len(bytes))
	fmt.Println("an image of", images[0].Bounds().Size(), "pixels")
	// Output:
	// 8 x 8 codes in 2 sub-codebooks, 132 bytes
	// an image of (32,32) pixels
}

func ExampleGenerator_Generate() {
	generator, err := fqgan.OpenGenerator(nil, model("capi-generator.safetensors"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer generator.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = generator.Generate(ctx, []uint32{2}, &fqgan.Sampling{
		Seed: 1,
		TopK: 40,
		Progress: func(p fqgan.Progress) {
			if p.Done == 6 {
				fmt.Println(p.Done, "of", p.Total)
				cancel()
			}
		},
	})
	fmt.Println(errors.Is(err, fqgan.ErrCancelled), errors.Is(err, context.Canceled))
	// Output:
	// 6 of 12
	// true true
}

func ExampleError() {
	_, err := fqgan.OpenTokenizer(nil, "/nowhere/model.safetensors", nil)
	fmt.Println(errors.Is(err, fqgan.ErrIO), errors.Is(err, fqgan.ErrFormat))
	// Output: true false
}
