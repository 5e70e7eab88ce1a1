package fqgan

/*
#include "shim.h"
*/
import "C"

import (
	"context"
	"image"
	"io/fs"
	"runtime"
	"sync"
	"unsafe"
)

// Tokenizer turns images into codes and back.
type Tokenizer struct {
	lock     sync.RWMutex
	handle   *C.fqgan_tokenizer
	weights  weights
	parallel *parallel
	info     TokenizerInfo
}

// TokenizerInfo says what a tokenizer is.
type TokenizerInfo struct {
	// Codebooks is how many codes stand for a patch, in the order (vis, sem) or (vis, sem_mid, sem_high).
	Codebooks int
	// CodebookSize: each code is less.
	CodebookSize int
	// CodeDim is the elements of a code's vector.
	CodeDim int
	// Downsample is the side of a patch in pixels: sides of images are multiples of it.
	Downsample int
	// ImageSize is the side of the images that the model was made for.
	ImageSize int
	// Parameters is the weights in use.
	Parameters uint64
}

// OpenTokenizer opens a weight file: safetensors, or a .pt of the authors'. A nil runtime is made for it alone;
// options may be nil.
func OpenTokenizer(r *Runtime, path string, options *ModelOptions) (*Tokenizer, error) {
	return openTokenizer(r, options, func() (weights, error) { return fromPath(path) })
}

// OpenTokenizerBytes opens a weight file in memory, which is copied.
func OpenTokenizerBytes(r *Runtime, bytes []byte, options *ModelOptions) (*Tokenizer, error) {
	return openTokenizer(r, options, func() (weights, error) { return fromBytes(bytes) })
}

// OpenTokenizerFS opens a weight file of a file system, such as an archive or embedded files.
func OpenTokenizerFS(r *Runtime, files fs.FS, name string, options *ModelOptions) (*Tokenizer, error) {
	return openTokenizer(r, options, func() (weights, error) { return fromFS(files, name) })
}

func openTokenizer(r *Runtime, options *ModelOptions, source func() (weights, error)) (*Tokenizer, error) {
	from, err := source()
	if err != nil {
		return nil, err
	}
	t, with := &Tokenizer{weights: from}, options.c()
	t.parallel, err = lend(r, func(r *C.fqgan_runtime) error {
		return check(func(e *C.fqgan_error) C.fqgan_status {
			if from.path != nil {
				return C.fqgan_tokenizer_open(r, from.path, &with, &t.handle, e)
			}
			return C.fqgan_tokenizer_open_memory(r, from.memory, from.length, &with, &t.handle, e)
		})
	})
	if err != nil {
		t.weights.free()
		return nil, err
	}
	runtime.SetFinalizer(t, (*Tokenizer).free)
	var info C.fqgan_tokenizer_info
	info.struct_size = C.uint32_t(unsafe.Sizeof(info))
	err = check(func(e *C.fqgan_error) C.fqgan_status { return C.fqgan_tokenizer_get_info(t.handle, &info, e) })
	if err != nil {
		t.Close()
		return nil, err
	}
	t.info = TokenizerInfo{
		Codebooks: int(info.codebooks), CodebookSize: int(info.codebook_size), CodeDim: int(info.code_dim),
		Downsample: int(info.downsample), ImageSize: int(info.image_size), Parameters: uint64(info.parameters),
	}
	return t, nil
}

// Close waits for calls under way and gives the tokenizer back. It never fails.
func (t *Tokenizer) Close() error {
	runtime.SetFinalizer(t, nil)
	t.free()
	return nil
}

func (t *Tokenizer) free() {
	t.lock.Lock()
	defer t.lock.Unlock()
	if t.handle != nil {
		C.fqgan_tokenizer_close(t.handle)
		t.handle = nil
		t.weights.free()
		t.parallel.give()
	}
}

// Info says what the tokenizer is.
func (t *Tokenizer) Info() TokenizerInfo { return t.info }

// Encode gives the codes of images of one size. The context is asked before each image.
func (t *Tokenizer) Encode(ctx context.Context, images ...image.Image) (*Codes, error) {
	views := make([]Pixels, len(images))
	for i, img := range images {
		views[i] = PixelsOf(img)
	}
	return t.EncodePixels(ctx, views...)
}

// EncodePixels is Encode for raw pixels.
func (t *Tokenizer) EncodePixels(ctx context.Context, images ...Pixels) (*Codes, error) {
	codes, err := t.empty(images)
	if err != nil {
		return nil, err
	}
	each := codes.each()
	codes.Data = make([]uint32, len(images)*each)
	err = t.eachImage(ctx, images, func(i int, pixels unsafe.Pointer, e *C.fqgan_error) C.fqgan_status {
		p, to := &images[i], codes.Data[i*each:][:each]
		return C.fqgan_go_encode(t.handle, pixels, C.uint32_t(p.Width), C.uint32_t(p.Height), C.size_t(p.Stride),
			C.int32_t(p.Format), first(to), C.size_t(each), e)
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}

// Latents gives the latents of images before they are normalised and become codes, laid out (image, codebook,
// CodeDim, row, column).
func (t *Tokenizer) Latents(ctx context.Context, images ...Pixels) ([]float32, error) {
	codes, err := t.empty(images)
	if err != nil {
		return nil, err
	}
	each := codes.each() * t.info.CodeDim
	latents := make([]float32, len(images)*each)
	err = t.eachImage(ctx, images, func(i int, pixels unsafe.Pointer, e *C.fqgan_error) C.fqgan_status {
		p := &images[i]
		var to *C.float
		if each > 0 {
			to = (*C.float)(&latents[i*each])
		}
		return C.fqgan_go_latents(t.handle, pixels, C.uint32_t(p.Width), C.uint32_t(p.Height), C.size_t(p.Stride),
			C.int32_t(p.Format), to, C.size_t(each), e)
	})
	if err != nil {
		return nil, err
	}
	return latents, nil
}

// Decode gives the images of codes. Bit i of mask says that sub-codebook i is used, the vectors of the others are
// zero; 0: all are. The context is asked before each image.
func (t *Tokenizer) Decode(ctx context.Context, codes *Codes, mask uint32) ([]*image.NRGBA, error) {
	if err := t.fits(codes); err != nil {
		return nil, err
	}
	images, views := make([]*image.NRGBA, codes.Count), make([]Pixels, codes.Count)
	for i := range images {
		images[i] = image.NewNRGBA(image.Rect(0, 0, codes.GridWidth*t.info.Downsample, codes.GridHeight*t.info.Downsample))
		views[i] = PixelsOf(images[i])
	}
	if err := t.DecodeInto(ctx, codes, mask, views...); err != nil {
		return nil, err
	}
	return images, nil
}

// DecodeInto writes the images of codes to the pixels of the caller, one for each image: also into a part of a
// larger picture, through PixelsOf of an NRGBA's SubImage. After an error some may have been written.
func (t *Tokenizer) DecodeInto(ctx context.Context, codes *Codes, mask uint32, images ...Pixels) error {
	if err := t.fits(codes); err != nil {
		return err
	}
	if len(images) != codes.Count {
		return invalid("%d images for the codes of %d", len(images), codes.Count)
	}
	each := codes.each()
	return t.eachImage(ctx, images, func(i int, pixels unsafe.Pointer, e *C.fqgan_error) C.fqgan_status {
		p := &images[i]
		return C.fqgan_go_decode(t.handle, first(codes.Data[i*each:][:each]), C.uint32_t(codes.GridWidth),
			C.uint32_t(codes.GridHeight), C.uint32_t(mask), pixels, C.uint32_t(p.Width), C.uint32_t(p.Height),
			C.size_t(p.Stride), C.int32_t(p.Format), e)
	})
}

func first(codes []uint32) *C.uint32_t {
	if len(codes) == 0 {
		return nil
	}
	return (*C.uint32_t)(&codes[0])
}

// empty is the sizes of the images' codes.
func (t *Tokenizer) empty(images []Pixels) (*Codes, error) {
	if len(images) == 0 {
		return nil, invalid("no images")
	}
	for i, p := range images {
		if p.Width != images[0].Width || p.Height != images[0].Height {
			return nil, invalid("image %d is %d x %d pixels, the first is %d x %d: expected one size a call", i, p.Width,
				p.Height, images[0].Width, images[0].Height)
		}
	}
	if _, err := images[0].pointer(); err != nil {
		return nil, err
	}
	f := t.info.Downsample
	return &Codes{
		Count: len(images), Codebooks: t.info.Codebooks, CodebookSize: t.info.CodebookSize,
		GridWidth: images[0].Width / f, GridHeight: images[0].Height / f,
	}, nil
}

// fits says whether codes may be this tokenizer's.
func (t *Tokenizer) fits(codes *Codes) error {
	if err := codes.check(); err != nil {
		return err
	}
	if codes.Codebooks != t.info.Codebooks || codes.CodebookSize != t.info.CodebookSize {
		return invalid("codes of %d sub-codebooks of %d, the tokenizer has %d of %d", codes.Codebooks, codes.CodebookSize,
			t.info.Codebooks, t.info.CodebookSize)
	}
	return nil
}

// eachImage calls the library for one image after the other; the results are those of one call for all.
func (t *Tokenizer) eachImage(ctx context.Context, images []Pixels, call func(int, unsafe.Pointer, *C.fqgan_error) C.fqgan_status) error {
	t.lock.RLock()
	defer t.lock.RUnlock()
	if t.handle == nil {
		return ErrClosed
	}
	for i := range images {
		if err := cancelled(ctx); err != nil {
			return err
		}
		pixels, err := images[i].pointer()
		if err != nil {
			return err
		}
		err = check(func(e *C.fqgan_error) C.fqgan_status { return call(i, pixels, e) })
		if err != nil {
			return err
		}
	}
	return nil
}
