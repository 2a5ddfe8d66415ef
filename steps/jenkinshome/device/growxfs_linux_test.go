package device

import (
	"testing"
	"unsafe"
)

// The size of what a call takes is part of its number.
func TestCallsAreOfTheKernelsSizes(t *testing.T) {
	for call, size := range map[uintptr]uintptr{xfsGeometryCall: unsafe.Sizeof(xfsGeometry{}), xfsGrowCall: unsafe.Sizeof(xfsGrow{})} {
		if want := call >> 16 & 0x3fff; size != want {
			t.Errorf("call %#x takes %d bytes, have %d", call, want, size)
		}
	}
}
