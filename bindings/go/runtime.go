package fqgan

/*
#include "shim.h"
*/
import "C"

import (
	"runtime"
	"runtime/cgo"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Device is where to run.
type Device int32

// The devices.
const (
	// DeviceAuto is the best device there is.
	DeviceAuto Device = C.FQGAN_DEVICE_AUTO
	DeviceCPU  Device = C.FQGAN_DEVICE_CPU
	DeviceCUDA Device = C.FQGAN_DEVICE_CUDA
)

// RuntimeOptions say how to run; the zero value is the default.
type RuntimeOptions struct {
	Device Device
	// DeviceIndex is which of several GPUs.
	DeviceIndex int
	// Threads to use, the calling one included; 0: one per physical core. With Parallel, how many jobs it is given at
	// a time.
	Threads int
	// Parallel runs job(i) for each i of 0 .. jobs-1, each once, on any goroutines, and returns when all are done. It
	// may be called from several goroutines at a time, and must not panic. nil: threads of the library's own, which
	// cost less.
	Parallel func(jobs int, job func(i int))
}

// Runtime is a device and the threads that feed it. Any number of models share one.
type Runtime struct {
	lock     sync.RWMutex
	handle   *C.fqgan_runtime
	parallel *parallel
}

// parallel is a host's job system, needed for as long as the runtime or a model that was opened with it.
type parallel struct {
	handle cgo.Handle
	users  atomic.Int64
}

func (p *parallel) take() {
	if p != nil {
		p.users.Add(1)
	}
}

func (p *parallel) give() {
	if p != nil && p.users.Add(-1) == 0 {
		p.handle.Delete()
	}
}

// NewRuntime makes a runtime. options may be nil.
func NewRuntime(options *RuntimeOptions) (*Runtime, error) {
	if options == nil {
		options = &RuntimeOptions{}
	}
	if options.Threads < 0 || options.DeviceIndex < 0 {
		return nil, invalid("RuntimeOptions: %d threads on device %d", options.Threads, options.DeviceIndex)
	}
	with := C.fqgan_runtime_options{
		device:       C.int32_t(options.Device),
		device_index: C.uint32_t(options.DeviceIndex),
		threads:      C.uint32_t(options.Threads),
	}
	with.struct_size = C.uint32_t(unsafe.Sizeof(with))
	r := &Runtime{}
	if options.Parallel != nil {
		r.parallel = &parallel{handle: cgo.NewHandle(options.Parallel)}
		r.parallel.take()
	}
	err := check(func(e *C.fqgan_error) C.fqgan_status {
		handle := C.uintptr_t(0)
		if r.parallel != nil {
			handle = C.uintptr_t(r.parallel.handle)
		}
		return C.fqgan_go_runtime_create(&with, handle, &r.handle, e)
	})
	if err != nil {
		r.parallel.give()
		return nil, err
	}
	runtime.SetFinalizer(r, (*Runtime).free)
	return r, nil
}

// Close gives the runtime back. Models that were opened with it go on working. It never fails.
func (r *Runtime) Close() error {
	runtime.SetFinalizer(r, nil)
	r.free()
	return nil
}

func (r *Runtime) free() {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.handle != nil {
		C.fqgan_runtime_destroy(r.handle)
		r.handle = nil
		r.parallel.give()
	}
}

//export fqganGoParallel
func fqganGoParallel(user C.uintptr_t, count C.size_t, jobs *C.fqgan_go_jobs) {
	run := cgo.Handle(user).Value().(func(int, func(int)))
	run(int(count), func(i int) { C.fqgan_go_run_job(jobs, C.size_t(i)) })
}
