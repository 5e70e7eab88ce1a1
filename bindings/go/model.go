package fqgan

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"unsafe"
)

// Precision is how numbers are kept.
type Precision int32

// The precisions.
const (
	// PrecisionF32 is exact, the default.
	PrecisionF32 Precision = C.FQGAN_PRECISION_F32
	// PrecisionBF16 takes 16-bit brain floats for the products, and sums in 32 bits.
	PrecisionBF16 Precision = C.FQGAN_PRECISION_BF16
	// PrecisionInt8 has 8-bit weights, for generators.
	PrecisionInt8 Precision = C.FQGAN_PRECISION_INT8
)

// ModelOptions say how to open a model; the zero value is the default.
type ModelOptions struct {
	Precision Precision
	// ReadFile reads the file into memory instead of mapping it: for files that may be cut short while they are open.
	ReadFile bool
	// MemoryLimit bounds working memory, in bytes; past it, calls fail with ErrOutOfMemory. 0: no limit.
	MemoryLimit uint64
}

func (o *ModelOptions) c() C.fqgan_model_options {
	with := C.fqgan_model_options{}
	with.struct_size = C.uint32_t(unsafe.Sizeof(with))
	if o != nil {
		with.precision = C.int32_t(o.Precision)
		with.memory_limit = C.uint64_t(o.MemoryLimit)
		if o.ReadFile {
			with._map = C.FQGAN_MAP_OFF
		}
	}
	return with
}

// weights are where a model comes from: a path, or memory that is C's, since the model goes on using it.
type weights struct {
	path   *C.char
	memory unsafe.Pointer
	length C.size_t
}

func (w *weights) free() {
	C.free(unsafe.Pointer(w.path))
	C.free(w.memory)
	*w = weights{}
}

func fromPath(path string) (weights, error) { return weights{path: C.CString(path)}, nil }

func allocate(length int64) (weights, error) {
	if length <= 0 || int64(int(length)) != length {
		return weights{}, &Error{Status: ErrFormat, Message: "weights that are empty, or too long for memory"}
	}
	memory := C.calloc(1, C.size_t(length))
	if memory == nil {
		return weights{}, &Error{Status: ErrOutOfMemory, Message: "no memory for the weights"}
	}
	return weights{memory: memory, length: C.size_t(length)}, nil
}

func (w *weights) bytes() []byte { return unsafe.Slice((*byte)(w.memory), int(w.length)) }

func fromBytes(bytes []byte) (weights, error) {
	w, err := allocate(int64(len(bytes)))
	if err == nil {
		copy(w.bytes(), bytes)
	}
	return w, err
}

// fromFS reads a file where it will stay. One of the operating system's own is read by its path, so that it is mapped.
func fromFS(files fs.FS, name string) (weights, error) {
	failed := func(err error) (weights, error) {
		status := ErrIO
		if errors.Is(err, fs.ErrInvalid) {
			status = ErrInvalidArgument
		}
		return weights{}, &Error{Status: status, Message: "weights: " + err.Error(), cause: err}
	}
	file, err := files.Open(name)
	if err != nil {
		return failed(err)
	}
	defer file.Close()
	if real, is := file.(*os.File); is {
		return fromPath(real.Name())
	}
	info, err := file.Stat()
	if err != nil {
		return failed(err)
	}
	w, err := allocate(info.Size())
	if err != nil {
		return w, err
	}
	if _, err := io.ReadFull(file, w.bytes()); err != nil {
		w.free()
		return failed(err)
	}
	return w, nil
}

// lend gives the runtime's handle to open a model with; a nil runtime is made for this model alone.
func lend(r *Runtime, open func(*C.fqgan_runtime) error) (*parallel, error) {
	if r == nil {
		own, err := NewRuntime(nil)
		if err != nil {
			return nil, err
		}
		defer own.Close()
		r = own
	}
	r.lock.RLock()
	defer r.lock.RUnlock()
	if r.handle == nil {
		return nil, ErrClosed
	}
	if err := open(r.handle); err != nil {
		return nil, err
	}
	r.parallel.take()
	return r.parallel, nil
}
