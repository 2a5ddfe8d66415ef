package jenkins

import (
	"strconv"
	"strings"
)

// Older reports whether version a ("2.528.1", or an image's tag such as "2.528.1-lts-jdk21") is before b. What is no version is not older.
func Older(a, b string) bool {
	x, y := numbersOf(a), numbersOf(b)
	if len(x) == 0 || len(y) == 0 {
		return false
	}
	for i := range max(len(x), len(y)) {
		if n, m := at(x, i), at(y, i); n != m {
			return n < m
		}
	}
	return false
}

func at(ns []int, i int) int {
	if i < len(ns) {
		return ns[i]
	}
	return 0
}

func numbersOf(version string) []int {
	head, _, _ := strings.Cut(version, "-")
	var out []int
	for _, part := range strings.Split(head, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		out = append(out, n)
	}
	return out
}
