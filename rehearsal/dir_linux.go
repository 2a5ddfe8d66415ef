package rehearsal

import "golang.org/x/sys/unix"

// memoryRoom is what a rehearsal needs at most: two Jenkins homes, snapshots, and the databases of two clusters, with a margin.
const memoryRoom = 4 << 30

// memoryDir names a directory that is kept in memory, when there is one with room. A rehearsal makes and removes some 50,000 small
// files, for which a disk takes ten times as long.
func memoryDir() string {
	const dir = "/dev/shm"
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil || st.Type != unix.TMPFS_MAGIC || unix.Access(dir, unix.W_OK) != nil {
		return ""
	}
	if uint64(st.Bsize)*st.Bavail < memoryRoom {
		return ""
	}
	return dir
}
