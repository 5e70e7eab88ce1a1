package fqgan

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
)

// stream is the numbers of tests/hosts/cases.txt.
type stream uint32

func newStream(seed uint64) *stream {
	s := stream(uint32(seed)*2654435761 + 1)
	if s == 0 {
		s = 1
	}
	return &s
}

func (s *stream) next() uint32 {
	*s ^= *s << 13
	*s ^= *s >> 17
	*s ^= *s << 5
	return uint32(*s)
}

func (s *stream) codes(count int) []uint32 {
	codes := make([]uint32, count)
	for i := range codes {
		codes[i] = s.next() % 64
	}
	return codes
}

// caseImages are images that follow each other in memory, filled from the stream or with the byte 0xA5.
func caseImages(format PixelFormat, width, height, count, pad int, from *stream) (views []Pixels, all func() []byte) {
	pixel := []int{3, 4, 4, 12, 4}[format]
	stride := width*pixel + pad
	size := stride * height
	if format == RGBF32Planar {
		size *= 3
	}
	if format >= RGBF32 {
		memory := make([]float32, count*size/4)
		for i := range memory {
			if from != nil {
				memory[i] = (float32(from.next()>>24) - 128) / 128
			} else {
				memory[i] = math.Float32frombits(0xA5A5A5A5)
			}
		}
		for i := 0; i < count; i++ {
			views = append(views, Pixels{Format: format, Width: width, Height: height, Stride: stride, Floats: memory[i*size/4:][:size/4]})
		}
		return views, func() []byte { return floatBytes(memory) }
	}
	memory := make([]byte, count*size)
	for i := range memory {
		memory[i] = 0xA5
		if from != nil {
			memory[i] = byte(from.next() >> 24)
		}
	}
	for i := 0; i < count; i++ {
		views = append(views, Pixels{Format: format, Width: width, Height: height, Stride: stride, Bytes: memory[i*size:][:size]})
	}
	return views, func() []byte { return memory }
}

func floatBytes(values []float32) []byte {
	var bytes []byte
	for _, value := range values {
		bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(value))
	}
	return bytes
}

func codeBytes(codes *Codes) []byte {
	var bytes []byte
	if codes != nil {
		for _, code := range codes.Data {
			bytes = binary.LittleEndian.AppendUint32(bytes, code)
		}
	}
	return bytes
}

func runCase(t *testing.T, tokenizer *Tokenizer, generator *Generator, line string) (result []byte, err error) {
	ctx := context.Background()
	words := strings.Fields(line)
	number := func(i int) uint64 {
		value, err := strconv.ParseUint(words[i+1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	n := func(i int) int { return int(number(i)) }
	real := func(i int) float32 {
		value, err := strconv.ParseFloat(words[i+1], 32)
		if err != nil {
			t.Fatal(err)
		}
		return float32(value)
	}
	classes := func(from int) (classes []uint32) {
		for i := from; i+1 < len(words); i++ {
			classes = append(classes, uint32(number(i)))
		}
		return classes
	}
	switch words[0] {
	case "encode", "latents":
		views, _ := caseImages(PixelFormat(n(0)), n(1), n(2), n(3), n(4), newStream(number(5)))
		if words[0] == "encode" {
			codes, err := tokenizer.EncodePixels(ctx, views...)
			return codeBytes(codes), err
		}
		latents, err := tokenizer.Latents(ctx, views...)
		return floatBytes(latents), err
	case "decode":
		codes := &Codes{Count: n(3), Codebooks: 2, CodebookSize: 64, GridWidth: n(1), GridHeight: n(2)}
		codes.Data = newStream(number(6)).codes(n(3) * 2 * n(1) * n(2))
		views, all := caseImages(PixelFormat(n(0)), 4*n(1), 4*n(2), n(3), n(4), nil)
		err := tokenizer.DecodeInto(ctx, codes, uint32(n(5)), views...)
		return all(), err
	case "generate":
		codes, err := generator.Generate(ctx, classes(6), &Sampling{
			Seed: number(0), TopK: n(1), TopP: real(2), Temperature: real(3), Guidance: real(4), Steps: n(5),
		})
		return codeBytes(codes), err
	case "cancel":
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		codes, err := generator.Generate(ctx, classes(2), &Sampling{Seed: number(1), Progress: func(p Progress) {
			if p.Done >= n(0) {
				cancel()
			}
		}})
		return codeBytes(codes), err
	case "logits":
		of := classes(1)
		logits, err := generator.Logits(of, &Codes{Data: newStream(number(0)).codes(24 * len(of))})
		return floatBytes(logits), err
	case "pack":
		codes := &Codes{Count: n(3), Codebooks: n(0), CodebookSize: 64, GridWidth: n(1), GridHeight: n(2)}
		codes.Data = newStream(number(4)).codes(n(0) * n(1) * n(2) * n(3))
		bytes, err := codes.MarshalBinary()
		if err != nil {
			return nil, err
		}
		var back Codes
		if err := back.UnmarshalBinary(bytes); err != nil || string(codeBytes(&back)) != string(codeBytes(codes)) {
			t.Errorf("%s: unpacked codes differ, %v", line, err)
		}
		return bytes, nil
	}
	t.Fatalf("unknown: %s", line)
	return nil, nil
}

// TestCases: the same bytes as from Rust, for each line of tests/hosts/cases.txt.
func TestCases(t *testing.T) {
	tokenizer, generator := openModels(t, nil)
	expected := strings.Split(strings.TrimSpace(string(read(t, at("capi-cases.txt")))), "\n")
	lines := 0
	for _, line := range strings.Split(string(read(t, "../../tests/hosts/cases.txt")), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		bytes, err := runCase(t, tokenizer, generator, line)
		var status Status
		var failure *Error
		if errors.As(err, &failure) {
			status = failure.Status
		} else if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		got := fmt.Sprintf("%s: %d", line, status)
		if status == 0 || status == ErrCancelled {
			got += " " + hex.EncodeToString(bytes)
		}
		if got != expected[lines] {
			t.Errorf("not what Rust gives:\n%.200s\nexpected\n%.200s", got, expected[lines])
		}
		lines++
	}
	if lines != len(expected) || lines <= 45 {
		t.Errorf("%d cases of %d", lines, len(expected))
	}
}
