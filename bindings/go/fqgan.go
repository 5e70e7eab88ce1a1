// Package fqgan turns images into small grids of discrete codes and back, and makes codes of new images, through
// libfqgan. pkg-config must find the library: install it with scripts/install.sh, and set PKG_CONFIG_PATH where the
// prefix is not a usual one. Build with the tag fqgan_static to link it into the program.
//
// Handles may be used by any number of goroutines at the same time. Close gives one back once the calls on it are
// over; one that is forgotten is given back by a finalizer.
package fqgan

/*
#cgo CFLAGS: -std=c99
#include "shim.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"unsafe"
)

// Version is that of the library that is linked, as "0.1.0".
func Version() string { return C.GoString(C.fqgan_version()) }

// ABIVersion is the version of the C interface that the library was built with.
func ABIVersion() int { return int(C.fqgan_abi_version()) }

// Status is the kind of an error. Each is an error itself, for errors.Is.
type Status int32

// The kinds of errors.
const (
	// ErrInvalidArgument: an argument cannot be.
	ErrInvalidArgument Status = C.FQGAN_ERROR_INVALID_ARGUMENT
	// ErrIO: the operating system refused to read or write.
	ErrIO Status = C.FQGAN_ERROR_IO
	// ErrFormat: a file is not what it should be.
	ErrFormat Status = C.FQGAN_ERROR_FORMAT
	// ErrUnsupported: valid, but not something that this build, device or type can do.
	ErrUnsupported Status = C.FQGAN_ERROR_UNSUPPORTED
	// ErrOutOfMemory: memory, or the limit that was set, does not suffice.
	ErrOutOfMemory Status = C.FQGAN_ERROR_OUT_OF_MEMORY
	// ErrDevice: no driver, no such GPU, or a launch failed.
	ErrDevice Status = C.FQGAN_ERROR_DEVICE
	// ErrCancelled: the context ended during the call.
	ErrCancelled Status = C.FQGAN_ERROR_CANCELLED
	// ErrInternal: a bug of the library. Models stay usable.
	ErrInternal Status = C.FQGAN_ERROR_INTERNAL
)

// ErrClosed is what calls on a closed handle give.
var ErrClosed = errors.New("fqgan: the handle is closed")

// Error is the C name of the status.
func (s Status) Error() string { return C.GoString(C.fqgan_status_name(C.fqgan_status(s))) }

// Error is what a call of the library said.
type Error struct {
	Status  Status
	Message string
	// cause is the context's error of a cancelled call.
	cause error
}

func (e *Error) Error() string { return "fqgan: " + e.Message }

// Is says whether target is the error's status.
func (e *Error) Is(target error) bool {
	status, is := target.(Status)
	return is && status == e.Status
}

// Unwrap is the context's error where a context ended the call.
func (e *Error) Unwrap() error { return e.cause }

func invalid(format string, values ...any) error {
	return &Error{Status: ErrInvalidArgument, Message: fmt.Sprintf(format, values...)}
}

// cancelled is the error of a context that has ended, or nil.
func cancelled(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &Error{Status: ErrCancelled, Message: "stopped: " + err.Error(), cause: err}
	}
	return nil
}

// failures are error structs that wait for a call: a new one would be half a kilobyte of garbage each time.
var failures = sync.Pool{New: func() any { return new(C.fqgan_error) }}

func check(call func(*C.fqgan_error) C.fqgan_status) error {
	e := failures.Get().(*C.fqgan_error)
	defer failures.Put(e)
	e.struct_size = C.uint32_t(unsafe.Sizeof(*e))
	if status := call(e); status != C.FQGAN_OK {
		return &Error{Status: Status(status), Message: C.GoString(&e.message[0])}
	}
	return nil
}

// The levels of a log.
const (
	LogError   = C.FQGAN_LOG_ERROR
	LogWarning = C.FQGAN_LOG_WARNING
	LogInfo    = C.FQGAN_LOG_INFO
	LogDebug   = C.FQGAN_LOG_DEBUG
)

var (
	logLock sync.RWMutex
	logTo   func(level int, message string)
)

// SetLog sets the function that takes the log of the whole process, from any goroutine; nil, the default, is
// silence. The function must not call SetLog.
func SetLog(to func(level int, message string)) {
	logLock.Lock()
	logTo = to
	logLock.Unlock()
	on := C.int(0)
	if to != nil {
		on = 1
	}
	C.fqgan_go_set_log(on)
}

//export fqganGoLog
func fqganGoLog(level C.int32_t, utf8 *C.char) {
	logLock.RLock()
	to := logTo
	logLock.RUnlock()
	if to != nil {
		to(int(level), C.GoString(utf8))
	}
}
