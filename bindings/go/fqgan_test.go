package fqgan

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"
)

func painted(width, height int, seed uint64) *image.NRGBA {
	img, s := image.NewNRGBA(image.Rect(0, 0, width, height)), newStream(seed)
	for i := range img.Pix {
		img.Pix[i] = byte(s.next() >> 24)
	}
	return img
}

func same(t *testing.T, what string, got, want *Codes, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if !bytes.Equal(codeBytes(got), codeBytes(want)) {
		t.Errorf("%s: other codes", what)
	}
}

func TestVersions(t *testing.T) {
	if ABIVersion() != 1 || Version() == "" {
		t.Errorf("version %q of interface %d", Version(), ABIVersion())
	}
	if ErrFormat.Error() != "FQGAN_ERROR_FORMAT" || Status(99).Error() != "FQGAN_ERROR_UNKNOWN" {
		t.Error(ErrFormat, Status(99))
	}
}

func TestImages(t *testing.T) {
	ctx := context.Background()
	tokenizer, _ := openModels(t, nil)
	straight := painted(32, 24, 1)
	for i := 3; i < len(straight.Pix); i += 4 {
		straight.Pix[i] = 255
	}
	want, err := tokenizer.Encode(ctx, straight)
	if err != nil {
		t.Fatal(err)
	}
	if want.Count != 1 || want.GridWidth != 8 || want.GridHeight != 6 || want.Codebooks != 2 || len(want.Data) != 96 {
		t.Fatalf("%+v", want)
	}
	if want.At(0, 1, 5, 7) != want.Data[95] {
		t.Error("At takes another order")
	}

	rgba := &image.RGBA{Pix: straight.Pix, Stride: straight.Stride, Rect: straight.Rect}
	got, err := tokenizer.Encode(ctx, rgba)
	same(t, "opaque RGBA", got, want, err)

	// A part of a larger picture, not at its corner.
	large := image.NewNRGBA(image.Rect(-5, -3, 60, 50))
	for y := 0; y < 24; y++ {
		for x := 0; x < 32; x++ {
			large.SetNRGBA(x+7, y+2, straight.NRGBAAt(x, y))
		}
	}
	part := large.SubImage(image.Rect(7, 2, 39, 26)).(*image.NRGBA)
	got, err = tokenizer.Encode(ctx, part)
	same(t, "sub-image", got, want, err)

	// Transparent pixels count by their colour.
	clear := image.NewNRGBA(straight.Rect)
	copy(clear.Pix, straight.Pix)
	for i := 3; i < len(clear.Pix); i += 4 {
		clear.Pix[i] = 7
	}
	got, err = tokenizer.Encode(ctx, clear)
	same(t, "transparent", got, want, err)

	// A type that has to be converted.
	grey, as := image.NewGray(straight.Rect), image.NewNRGBA(straight.Rect)
	for y := 0; y < 24; y++ {
		for x := 0; x < 32; x++ {
			grey.SetGray(x, y, color.Gray{Y: uint8(x*5 + y)})
			as.Set(x, y, grey.At(x, y))
		}
	}
	want, err = tokenizer.Encode(ctx, as)
	if err != nil {
		t.Fatal(err)
	}
	got, err = tokenizer.Encode(ctx, grey)
	same(t, "grey", got, want, err)

	images, err := tokenizer.Decode(ctx, want, 0)
	if err != nil || len(images) != 1 || images[0].Rect != straight.Rect || !images[0].Opaque() {
		t.Fatal(err, images)
	}
	// Into a part: the same pixels, and none beside it.
	before := append([]byte(nil), large.Pix...)
	if err := tokenizer.DecodeInto(ctx, want, 0, PixelsOf(part)); err != nil {
		t.Fatal(err)
	}
	for y := large.Rect.Min.Y; y < large.Rect.Max.Y; y++ {
		for x := large.Rect.Min.X; x < large.Rect.Max.X; x++ {
			at := large.PixOffset(x, y)
			want := before[at : at+4]
			if (image.Point{X: x, Y: y}).In(part.Rect) {
				inside := images[0].PixOffset(x-7, y-2)
				want = images[0].Pix[inside : inside+4]
			}
			if !bytes.Equal(large.Pix[at:at+4], want) {
				t.Fatalf("pixel %d, %d is %v, expected %v", x, y, large.Pix[at:at+4], want)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	ctx := context.Background()
	tokenizer, generator := openModels(t, nil)
	codes, err := tokenizer.Encode(ctx, painted(8, 8, 1))
	if err != nil {
		t.Fatal(err)
	}
	wrong := *codes
	wrong.Data = append([]uint32(nil), codes.Data...)
	wrong.Data[3] = 64
	short := *codes
	short.Data = codes.Data[1:]
	folder := t.TempDir()
	junk := filepath.Join(folder, "junk.safetensors")
	if err := os.WriteFile(junk, []byte("no weights at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	discard := func(_ any, err error) error { return err }
	decode := func(codes *Codes, mask uint32) error { return discard(tokenizer.Decode(ctx, codes, mask)) }
	for i, c := range []struct {
		got  error
		want Status
	}{
		{discard(OpenTokenizer(nil, filepath.Join(folder, "none"), nil)), ErrIO},
		{discard(OpenTokenizer(nil, junk, nil)), ErrFormat},
		{discard(OpenTokenizer(nil, "", nil)), ErrInvalidArgument},
		{discard(OpenTokenizerBytes(nil, []byte("junk"), nil)), ErrFormat},
		{discard(OpenTokenizerBytes(nil, nil, nil)), ErrFormat},
		{discard(OpenTokenizerFS(nil, os.DirFS(folder), "none", nil)), ErrIO},
		{discard(OpenTokenizerFS(nil, os.DirFS(folder), "../x", nil)), ErrInvalidArgument},
		{discard(OpenGenerator(nil, at("capi-tokenizer.safetensors"), nil)), ErrFormat},
		{discard(OpenTokenizer(nil, at("capi-tokenizer.safetensors"), &ModelOptions{Precision: 9})), ErrInvalidArgument},
		{discard(NewRuntime(&RuntimeOptions{Threads: 5000})), ErrInvalidArgument},
		{discard(NewRuntime(&RuntimeOptions{Threads: -1})), ErrInvalidArgument},
		{discard(NewRuntime(&RuntimeOptions{Device: DeviceCPU, DeviceIndex: 3})), ErrDevice},
		{discard(tokenizer.Encode(ctx)), ErrInvalidArgument},
		{discard(tokenizer.Encode(ctx, painted(8, 8, 1), painted(12, 8, 1))), ErrInvalidArgument},
		{discard(tokenizer.Encode(ctx, painted(9, 8, 1))), ErrInvalidArgument},
		{discard(tokenizer.Encode(ctx, image.NewNRGBA(image.Rectangle{}))), ErrInvalidArgument},
		{discard(tokenizer.EncodePixels(ctx, Pixels{Format: RGB8, Width: 8, Height: 8, Bytes: make([]byte, 191)})), ErrInvalidArgument},
		{discard(tokenizer.EncodePixels(ctx, Pixels{Format: RGB8, Width: 8, Height: 8, Stride: 23, Bytes: make([]byte, 999)})), ErrInvalidArgument},
		{discard(tokenizer.EncodePixels(ctx, Pixels{Format: RGBF32, Width: 8, Height: 8, Bytes: make([]byte, 999)})), ErrInvalidArgument},
		{discard(tokenizer.EncodePixels(ctx, Pixels{Format: 7, Width: 8, Height: 8, Bytes: make([]byte, 999)})), ErrInvalidArgument},
		{discard(tokenizer.EncodePixels(ctx, Pixels{Width: -8, Height: 8, Bytes: make([]byte, 999)})), ErrInvalidArgument},
		{decode(&wrong, 0), ErrInvalidArgument},
		{decode(&short, 0), ErrInvalidArgument},
		{decode(&Codes{}, 0), ErrInvalidArgument},
		{decode(&Codes{Count: 1 << 30, Codebooks: 1 << 30, GridWidth: 1 << 30, GridHeight: 1 << 30}, 0), ErrInvalidArgument},
		{decode(codes, 4), ErrInvalidArgument},
		{tokenizer.DecodeInto(ctx, codes, 0), ErrInvalidArgument},
		{discard(generator.Generate(ctx, nil, nil)), ErrInvalidArgument},
		{discard(generator.Generate(ctx, []uint32{5}, nil)), ErrInvalidArgument},
		{discard(generator.Generate(ctx, []uint32{1}, &Sampling{TopK: -1})), ErrInvalidArgument},
		{discard(generator.Generate(ctx, []uint32{1}, &Sampling{Temperature: -1})), ErrInvalidArgument},
		{discard(generator.Logits([]uint32{1}, codes)), ErrInvalidArgument},
		{discard((&Codes{}).MarshalBinary()), ErrInvalidArgument},
		{discard(wrong.MarshalBinary()), ErrInvalidArgument},
		{new(Codes).UnmarshalBinary(nil), ErrFormat},
		{new(Codes).UnmarshalBinary([]byte("FQGC and no more")), ErrFormat},
	} {
		var failure *Error
		if !errors.Is(c.got, c.want) || !errors.As(c.got, &failure) || failure.Message == "" {
			t.Errorf("%d: %v, expected %v", i, c.got, c.want)
		}
		if errors.Is(c.got, ErrInternal) {
			t.Errorf("%d: is every status", i)
		}
	}
}

func TestWeights(t *testing.T) {
	ctx, img := context.Background(), painted(16, 16, 3)
	tokenizer, _ := openModels(t, nil)
	want, err := tokenizer.Encode(ctx, img)
	if err != nil {
		t.Fatal(err)
	}
	path := at("capi-tokenizer.safetensors")
	data := read(t, path)
	var archive bytes.Buffer
	writer := zip.NewWriter(&archive)
	file, err := writer.Create("weights/model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	zipped, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	if err != nil {
		t.Fatal(err)
	}
	cut := fstest.MapFS{"model": &fstest.MapFile{Data: data[:len(data)/2]}}
	if _, err := OpenTokenizerFS(nil, cut, "model", nil); !errors.Is(err, ErrFormat) {
		t.Errorf("half a file: %v", err)
	}
	if _, err := OpenTokenizerFS(nil, cut, "other", nil); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, ErrIO) {
		t.Errorf("no file: %v", err)
	}
	for name, open := range map[string]func() (*Tokenizer, error){
		"bytes":   func() (*Tokenizer, error) { return OpenTokenizerBytes(nil, data, nil) },
		"archive": func() (*Tokenizer, error) { return OpenTokenizerFS(nil, zipped, "weights/model.safetensors", nil) },
		"folder": func() (*Tokenizer, error) {
			return OpenTokenizerFS(nil, os.DirFS(filepath.Dir(path)), filepath.Base(path), nil)
		},
		"read": func() (*Tokenizer, error) { return OpenTokenizer(nil, path, &ModelOptions{ReadFile: true}) },
	} {
		other, err := open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := other.Encode(ctx, img)
		same(t, name, got, want, err)
		if other.Info() != tokenizer.Info() {
			t.Errorf("%s: %+v", name, other.Info())
		}
		other.Close()
	}
	limited, err := OpenTokenizer(nil, path, &ModelOptions{MemoryLimit: 1000})
	if err == nil {
		_, err = limited.Encode(ctx, img)
		limited.Close()
	}
	if !errors.Is(err, ErrOutOfMemory) {
		t.Errorf("1000 bytes of memory: %v", err)
	}
}

func TestCancel(t *testing.T) {
	tokenizer, generator := openModels(t, nil)
	whole, err := generator.Generate(context.Background(), []uint32{1, 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	seen := 0
	part, err := generator.Generate(ctx, []uint32{1, 2}, &Sampling{Progress: func(p Progress) {
		seen++
		if p.Total != 24 || p.Done != 2*seen {
			t.Errorf("%d of %d", p.Done, p.Total)
		}
		for position := 0; position < 12; position++ {
			want := whole.Data[position]
			if position >= seen {
				want = 0
			}
			if p.Codes.Data[position] != want {
				t.Errorf("code %d after %d positions is %d, expected %d", position, seen, p.Codes.Data[position], want)
			}
		}
		if seen == 5 {
			cancel()
		}
	}})
	if !errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled) || seen != 5 {
		t.Fatal(err, seen)
	}
	if part.Data[4] != whole.Data[4] || part.Data[5] != 0 {
		t.Error(part.Data)
	}
	for _, err := range []error{
		func() error { _, err := generator.Generate(ctx, []uint32{1}, nil); return err }(),
		func() error { _, err := tokenizer.Encode(ctx, painted(8, 8, 1)); return err }(),
		func() error {
			_, err := tokenizer.Decode(ctx, &Codes{make([]uint32, 2), 1, 2, 64, 1, 1}, 0)
			return err
		}(),
	} {
		if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrCancelled) {
			t.Error(err)
		}
	}
	late, stop := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer stop()
	if _, err := generator.Generate(late, []uint32{1}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	// The progress function's panic is the caller's, and the model goes on.
	func() {
		defer func() {
			if cause := recover(); fmt.Sprint(cause) != "of the host" {
				t.Error(cause)
			}
		}()
		generator.Generate(context.Background(), []uint32{1}, &Sampling{Progress: func(Progress) { panic("of the host") }})
	}()
	again, err := generator.Generate(context.Background(), []uint32{1, 2}, nil)
	same(t, "after a panic", again, whole, err)
}

func TestManyGoroutines(t *testing.T) {
	ctx := context.Background()
	tokenizer, generator := openModels(t, nil)
	img := painted(16, 16, 5)
	want, err := tokenizer.Encode(ctx, img)
	if err != nil {
		t.Fatal(err)
	}
	pixels, err := tokenizer.Decode(ctx, want, 0)
	if err != nil {
		t.Fatal(err)
	}
	made, err := generator.Generate(ctx, []uint32{3}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for j := 0; j < 5; j++ {
				if codes, err := tokenizer.Encode(ctx, img); err != nil || !bytes.Equal(codeBytes(codes), codeBytes(want)) {
					t.Error("encode", err)
				}
				if images, err := tokenizer.Decode(ctx, want, 0); err != nil || !bytes.Equal(images[0].Pix, pixels[0].Pix) {
					t.Error("decode", err)
				}
				if codes, err := generator.Generate(ctx, []uint32{3}, nil); err != nil || !bytes.Equal(codeBytes(codes), codeBytes(made)) {
					t.Error("generate", err)
				}
			}
		}()
	}
	group.Wait()
}

func TestParallel(t *testing.T) {
	ctx := context.Background()
	var jobs atomic.Int64
	r, err := NewRuntime(&RuntimeOptions{Threads: 3, Parallel: func(n int, job func(int)) {
		var group sync.WaitGroup
		for i := 0; i < n; i++ {
			group.Add(1)
			go func(i int) { defer group.Done(); job(i) }(i)
		}
		group.Wait()
		jobs.Add(int64(n))
	}})
	if err != nil {
		t.Fatal(err)
	}
	tokenizer, _ := openModels(t, r)
	own, _ := openModels(t, nil)
	// The model keeps the host's function.
	r.Close()
	want, err := own.Encode(ctx, painted(32, 32, 1))
	if err != nil {
		t.Fatal(err)
	}
	got, err := tokenizer.Encode(ctx, painted(32, 32, 1))
	same(t, "on goroutines", got, want, err)
	if jobs.Load() < 3 {
		t.Errorf("%d jobs", jobs.Load())
	}
}

func TestClose(t *testing.T) {
	ctx := context.Background()
	r, err := NewRuntime(nil)
	if err != nil {
		t.Fatal(err)
	}
	tokenizer, generator := openModels(t, r)
	r.Close()
	r.Close()
	if _, err := OpenTokenizer(r, at("capi-tokenizer.safetensors"), nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	var group sync.WaitGroup
	for i := 0; i < 4; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				if _, err := tokenizer.Encode(ctx, painted(16, 16, 1)); err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
	tokenizer.Close()
	group.Wait()
	generator.Close()
	generator.Close()
	if _, err := generator.Generate(ctx, []uint32{1}, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := generator.Logits([]uint32{1}, &Codes{Data: make([]uint32, 24)}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestFinalizersGiveBack(t *testing.T) {
	data := read(t, at("capi-tokenizer.safetensors"))
	before := resident(t)
	for i := 0; i < 60; i++ {
		tokenizer, err := OpenTokenizerBytes(nil, data, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tokenizer.Encode(context.Background(), painted(8, 8, 1)); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		time.Sleep(2 * time.Millisecond)
	}
	// Sixty copies of the weights would be more than this.
	if grown := resident(t) - before; grown > 30*len(data) {
		t.Errorf("%d bytes more are resident, a model has %d", grown, len(data))
	}
}

func resident(t *testing.T) int {
	var pages, held int
	if _, err := fmt.Sscan(string(read(t, "/proc/self/statm")), &pages, &held); err != nil {
		t.Fatal(err)
	}
	return held * os.Getpagesize()
}

func TestLog(t *testing.T) {
	var lock sync.Mutex
	var lines []string
	SetLog(func(level int, message string) {
		lock.Lock()
		defer lock.Unlock()
		lines = append(lines, fmt.Sprint(level, message))
	})
	_, err := OpenTokenizer(nil, "/nowhere/at/all", nil)
	SetLog(nil)
	OpenTokenizer(nil, "/nowhere/at/all", nil)
	count := 0
	for _, line := range lines {
		if line == fmt.Sprint(LogError, err.(*Error).Message) {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%q, expected the error %v once", lines, err)
	}
}
