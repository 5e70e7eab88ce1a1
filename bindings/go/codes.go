package fqgan

/*
#include "shim.h"
*/
import "C"

import "unsafe"

// Codes are the codes of images, laid out (Count, Codebooks, GridHeight, GridWidth) in Data.
type Codes struct {
	Data                                                  []uint32
	Count, Codebooks, CodebookSize, GridWidth, GridHeight int
}

// At is the code of an image in a sub-codebook at a row and a column.
func (c *Codes) At(image, codebook, row, column int) uint32 {
	return c.Data[((image*c.Codebooks+codebook)*c.GridHeight+row)*c.GridWidth+column]
}

// each is the codes of an image.
func (c *Codes) each() int { return c.Codebooks * c.GridHeight * c.GridWidth }

// check compares the sizes with Data.
func (c *Codes) check() error {
	const most = 1 << 31
	need := 1
	for _, size := range []int{c.Count, c.Codebooks, c.GridHeight, c.GridWidth} {
		if size <= 0 || size > most || need > (1<<50)/size {
			return invalid("codes of %d images, %d sub-codebooks, %d x %d", c.Count, c.Codebooks, c.GridHeight, c.GridWidth)
		}
		need *= size
	}
	if c.CodebookSize <= 0 || c.CodebookSize > most {
		return invalid("sub-codebooks of %d codes", c.CodebookSize)
	}
	if len(c.Data) != need {
		return invalid("Data has %d codes, the sizes say %d", len(c.Data), need)
	}
	return nil
}

// MarshalBinary gives the bytes of a .fqc file.
func (c *Codes) MarshalBinary() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var bytes []byte
	var length C.size_t
	pack := func() error {
		return check(func(e *C.fqgan_error) C.fqgan_status {
			var to unsafe.Pointer
			if len(bytes) > 0 {
				to = unsafe.Pointer(&bytes[0])
			}
			return C.fqgan_codes_pack((*C.uint32_t)(&c.Data[0]), C.size_t(c.Count), C.uint32_t(c.Codebooks),
				C.uint32_t(c.CodebookSize), C.uint32_t(c.GridWidth), C.uint32_t(c.GridHeight),
				to, C.size_t(len(bytes)), &length, e)
		})
	}
	if err := pack(); err != nil {
		return nil, err
	}
	bytes = make([]byte, int(length))
	if err := pack(); err != nil {
		return nil, err
	}
	return bytes, nil
}

// UnmarshalBinary reads the bytes of a .fqc file. Damaged ones are ErrFormat.
func (c *Codes) UnmarshalBinary(bytes []byte) error {
	if len(bytes) == 0 {
		return &Error{Status: ErrFormat, Message: "a code file of 0 bytes"}
	}
	from := unsafe.Pointer(&bytes[0])
	var info C.fqgan_codes_info
	info.struct_size = C.uint32_t(unsafe.Sizeof(info))
	err := check(func(e *C.fqgan_error) C.fqgan_status {
		return C.fqgan_codes_unpack(from, C.size_t(len(bytes)), &info, nil, 0, e)
	})
	if err != nil {
		return err
	}
	made := Codes{
		Count: int(info.count), Codebooks: int(info.codebooks), CodebookSize: int(info.codebook_size),
		GridWidth: int(info.grid_width), GridHeight: int(info.grid_height),
	}
	made.Data = make([]uint32, made.Count*made.each())
	err = check(func(e *C.fqgan_error) C.fqgan_status {
		return C.fqgan_codes_unpack(from, C.size_t(len(bytes)), nil, (*C.uint32_t)(&made.Data[0]), C.size_t(len(made.Data)), e)
	})
	if err == nil {
		*c = made
	}
	return err
}
