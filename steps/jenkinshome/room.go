package jenkinshome

import (
	"fmt"

	"pipectl.dev/treecopy"
)

// roomHint names the field to raise, and by how much: the volume grows by ModifyVolume, its file system at the next mount, and the copy
// goes on where it stopped.
func roomHint(s *treecopy.SpaceError) string {
	if s.Quota() { // the file system has room
		return s.Hint()
	}
	more := moreGiB(s)
	if more == 0 { // a write was refused in the middle, where nothing was known ahead
		return "raise `size` of the data-volume stage, then run again: volume and file system grow, and the copy carries on"
	}
	return fmt.Sprintf("raise `size` of the data-volume stage by at least %dGi, then run again: volume and file system grow, and the copy carries on", more)
}

// bytesPerInode is what an ext4 file system made without other wishes gives one inode for, also as it grows.
const bytesPerInode = 16 << 10

// moreGiB is how much larger the volume must be for what was found to be missing; 0: not known. An ext4 file system takes a part of what it
// grows by for its own tables.
func moreGiB(s *treecopy.SpaceError) int64 {
	bytes := max(0, s.NeedBytes-s.FreeBytes)
	if inodes := s.NeedInodes - s.FreeNodes; inodes > 0 && (s.FreeNodes > 0 || bytes == 0) { // some file systems tell no inodes
		bytes = max(bytes, inodes*bytesPerInode)
	}
	bytes += bytes / 20
	return (bytes + 1<<30 - 1) >> 30
}
