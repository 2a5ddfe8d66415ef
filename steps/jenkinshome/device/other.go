//go:build !linux

package device

import (
	"context"
	"errors"
)

type system string

var errUnsupported = errors.New("block devices can be used on Linux only")

func (system) Find(context.Context, string) (string, error) { return "", errUnsupported }
func (system) Holds(string) (string, error)                 { return "", errUnsupported }
func (system) Format(context.Context, string) error         { return errUnsupported }
func (system) Mount(string, string) (string, error)         { return "", errUnsupported }
func (system) Mounted(string, string, string) error         { return errUnsupported }
func (system) View(string, string, string) (string, error)  { return "", errUnsupported }
func (system) Unmount(string) error                         { return errUnsupported }
func (system) Grow(context.Context, string) (before, after int64, err error) {
	return 0, 0, errUnsupported
}
func (system) GrowMounted(string, string) (before, after int64, err error) {
	return 0, 0, errUnsupported
}
