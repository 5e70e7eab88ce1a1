package fqgan

/*
#include "shim.h"
*/
import "C"

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"runtime/cgo"
	"sync"
	"unsafe"
)

// Generator makes codes of new images, given their classes.
type Generator struct {
	lock     sync.RWMutex
	handle   *C.fqgan_generator
	weights  weights
	parallel *parallel
	info     GeneratorInfo
}

// GeneratorInfo says what a generator is. Its codes fit a tokenizer of the same Codebooks and CodebookSize.
type GeneratorInfo struct {
	Codebooks, CodebookSize int
	// Classes, without the null class.
	Classes               int
	GridWidth, GridHeight int
	// Layers, Dim and Heads are the backbone's, HeadLayers those that make a position's sub-codes.
	Layers, Dim, Heads, HeadLayers int
	Parameters                     uint64
}

// Sampling says how codes are drawn; the zero value is the default.
type Sampling struct {
	// TopK draws from so many of the likeliest codes; 0: all, 1: always the likeliest.
	TopK int
	// Seed is what the random choices follow from.
	Seed uint64
	// Guidance is how much the class counts; 0: 2.0. 1 is no guidance, and half the work.
	Guidance float32
	// Temperature divides the logits; 0: 1.0.
	Temperature float32
	// TopP draws from the likeliest codes that together have this probability; 0: 1.0, all.
	TopP float32
	// Steps is the positions to make, row by row; 0: the whole grid.
	Steps int
	// Progress is told after each position.
	Progress func(Progress)
}

// Progress is how far a generation is: Done of Total positions, of all images together.
type Progress struct {
	Done, Total int
	// Codes so far, 0 where there is none yet. They change when Progress returns: copy what is to stay.
	Codes *Codes
}

// OpenGenerator opens a weight file: safetensors, or a .pt of the authors'. A nil runtime is made for it alone;
// options may be nil.
func OpenGenerator(r *Runtime, path string, options *ModelOptions) (*Generator, error) {
	return openGenerator(r, options, func() (weights, error) { return fromPath(path) })
}

// OpenGeneratorBytes opens a weight file in memory, which is copied.
func OpenGeneratorBytes(r *Runtime, bytes []byte, options *ModelOptions) (*Generator, error) {
	return openGenerator(r, options, func() (weights, error) { return fromBytes(bytes) })
}

// OpenGeneratorFS opens a weight file of a file system, such as an archive or embedded files.
func OpenGeneratorFS(r *Runtime, files fs.FS, name string, options *ModelOptions) (*Generator, error) {
	return openGenerator(r, options, func() (weights, error) { return fromFS(files, name) })
}

func openGenerator(r *Runtime, options *ModelOptions, source func() (weights, error)) (*Generator, error) {
	from, err := source()
	if err != nil {
		return nil, err
	}
	g, with := &Generator{weights: from}, options.c()
	g.parallel, err = lend(r, func(r *C.fqgan_runtime) error {
		return check(func(e *C.fqgan_error) C.fqgan_status {
			if from.path != nil {
				return C.fqgan_generator_open(r, from.path, &with, &g.handle, e)
			}
			return C.fqgan_generator_open_memory(r, from.memory, from.length, &with, &g.handle, e)
		})
	})
	if err != nil {
		g.weights.free()
		return nil, err
	}
	runtime.SetFinalizer(g, (*Generator).free)
	var info C.fqgan_generator_info
	info.struct_size = C.uint32_t(unsafe.Sizeof(info))
	err = check(func(e *C.fqgan_error) C.fqgan_status { return C.fqgan_generator_get_info(g.handle, &info, e) })
	if err != nil {
		g.Close()
		return nil, err
	}
	g.info = GeneratorInfo{
		Codebooks: int(info.codebooks), CodebookSize: int(info.codebook_size), Classes: int(info.classes),
		GridWidth: int(info.grid_width), GridHeight: int(info.grid_height), Layers: int(info.layers),
		Dim: int(info.dim), Heads: int(info.heads), HeadLayers: int(info.head_layers), Parameters: uint64(info.parameters),
	}
	return g, nil
}

// Close waits for calls under way and gives the generator back. It never fails.
func (g *Generator) Close() error {
	runtime.SetFinalizer(g, nil)
	g.free()
	return nil
}

func (g *Generator) free() {
	g.lock.Lock()
	defer g.lock.Unlock()
	if g.handle != nil {
		C.fqgan_generator_close(g.handle)
		g.handle = nil
		g.weights.free()
		g.parallel.give()
	}
}

// Info says what the generator is.
func (g *Generator) Info() GeneratorInfo { return g.info }

func (g *Generator) empty(count int) *Codes {
	codes := &Codes{
		Count: count, Codebooks: g.info.Codebooks, CodebookSize: g.info.CodebookSize,
		GridWidth: g.info.GridWidth, GridHeight: g.info.GridHeight,
	}
	codes.Data = make([]uint32, count*codes.each())
	return codes
}

// generation is a call of Generate under way.
type generation struct {
	ctx   context.Context
	tell  func(Progress)
	codes *Codes
	// panicked is what tell panicked with: it must not pass through the library.
	panicked any
}

// Generate gives the codes of new images, one for each class. sampling may be nil. When the context ends, the error is
// ErrCancelled and the context's, and the codes so far are returned with it, 0 where there is none.
func (g *Generator) Generate(ctx context.Context, classes []uint32, sampling *Sampling) (*Codes, error) {
	if len(classes) == 0 {
		return nil, invalid("no classes")
	}
	if err := cancelled(ctx); err != nil {
		return nil, err
	}
	if sampling == nil {
		sampling = &Sampling{}
	}
	if sampling.TopK < 0 || sampling.Steps < 0 || sampling.TopK > 1<<31 || sampling.Steps > 1<<31 {
		return nil, invalid("Sampling: top k %d, %d steps", sampling.TopK, sampling.Steps)
	}
	g.lock.RLock()
	defer g.lock.RUnlock()
	if g.handle == nil {
		return nil, ErrClosed
	}
	with := C.fqgan_sampling{
		top_k: C.uint32_t(sampling.TopK), seed: C.uint64_t(sampling.Seed), guidance: C.float(sampling.Guidance),
		temperature: C.float(sampling.Temperature), top_p: C.float(sampling.TopP), steps: C.uint32_t(sampling.Steps),
	}
	with.struct_size = C.uint32_t(unsafe.Sizeof(with))
	call := &generation{ctx: ctx, tell: sampling.Progress, codes: g.empty(len(classes))}
	handle := C.uintptr_t(0)
	// A call that nobody watches costs no way back into Go.
	if ctx.Done() != nil || call.tell != nil {
		own := cgo.NewHandle(call)
		defer own.Delete()
		handle = C.uintptr_t(own)
	}
	err := check(func(e *C.fqgan_error) C.fqgan_status {
		return C.fqgan_go_generate(g.handle, (*C.uint32_t)(&classes[0]), C.size_t(len(classes)), &with, handle,
			first(call.codes.Data), C.size_t(len(call.codes.Data)), e)
	})
	if call.panicked != nil {
		panic(call.panicked)
	}
	if errors.Is(err, ErrCancelled) {
		return call.codes, cancelled(ctx)
	}
	if err != nil {
		return nil, err
	}
	return call.codes, nil
}

//export fqganGoProgress
func fqganGoProgress(user C.uintptr_t, done, total C.uint32_t) (stop C.int32_t) {
	call := cgo.Handle(user).Value().(*generation)
	defer func() {
		if call.panicked = recover(); call.panicked != nil {
			stop = 1
		}
	}()
	if call.tell != nil {
		call.tell(Progress{Done: int(done), Total: int(total), Codes: call.codes})
	}
	if call.ctx.Err() != nil {
		return 1
	}
	return 0
}

// Logits gives what the model expects at each position of known codes, given the class and all codes before, laid out
// (image, codebook, position, CodebookSize). The class of index Classes is the null class.
func (g *Generator) Logits(classes []uint32, codes *Codes) ([]float32, error) {
	want := g.empty(len(classes))
	if len(classes) == 0 || len(codes.Data) != len(want.Data) {
		return nil, invalid("%d codes for %d classes, expected %d", len(codes.Data), len(classes), len(want.Data))
	}
	g.lock.RLock()
	defer g.lock.RUnlock()
	if g.handle == nil {
		return nil, ErrClosed
	}
	logits := make([]float32, len(codes.Data)*g.info.CodebookSize)
	err := check(func(e *C.fqgan_error) C.fqgan_status {
		return C.fqgan_generator_logits(g.handle, (*C.uint32_t)(&classes[0]), first(codes.Data), C.size_t(len(classes)),
			(*C.float)(&logits[0]), C.size_t(len(logits)), e)
	})
	if err != nil {
		return nil, err
	}
	return logits, nil
}
