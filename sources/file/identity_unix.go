//go:build unix

package file

import (
	"io/fs"
	"syscall"
)

// identity tells files apart that have one name, size and time: by the inode.
func identity(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Ino)
	}
	return 0
}
