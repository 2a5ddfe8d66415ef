//go:build !linux

package rehearsal

// memoryDir names no directory: the default one for temporary files is used.
func memoryDir() string { return "" }
