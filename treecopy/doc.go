// Package treecopy copies a file tree so that the copy can be proved: every entry arrives whole (temporary name, then
// rename), contents are hashed while they are read, and a manifest records what the target must hold. Copy makes a pass,
// Verify reads a target back against a manifest, Digest names the content of any tree.
//
//	report, err := treecopy.Copy(ctx, "/var/lib/jenkins", "/mnt/home", treecopy.Options{})
//
// # What is copied
//
// Regular files (sparse ones stay sparse), directories, symbolic links, hard links, FIFOs; mode, owner, times to the
// nanosecond, extended attributes and ACLs. Sockets are skipped and counted, devices are an error. A mount point below the
// source is an error unless Options.Mounts decides otherwise. The security.selinux, security.ima and security.evm attributes
// belong to the target's own policy: they are not copied, and a note says so where the source has them. An attribute that the target
// refuses is noted, too; an owner that it refuses to root is an error.
//
// # Passes
//
// A live pass (Options.Live) runs while the source is in use: entries that vanish are counted, files that change while they
// are read are copied as found and marked dirty, so that the next pass reads them again. A final pass treats both as errors.
// A file is unchanged when size and mtime are equal in source and target; with the previous manifest the source's inode and
// ctime must be equal too, else its content is hashed and compared.
//
// # Safety
//
// The source is opened read-only and never followed out of its root. The target must be empty, or carry the marker
// (MarkerName) of an earlier copy of the same source, unless Options.AllowNonEmpty says otherwise; entries are deleted only
// below such a marker. The marker says "complete" only after everything was written back to the device (syncfs).
//
// # Names
//
// Names are bytes. In JSON and in manifests, '%', control characters and bytes that are not valid UTF-8 are written as %XX;
// see EscapeName.
//
// The package must not know what the tree is for (Jenkins rules live with the step that moves a Jenkins home), must not
// print, and imports nothing of pipectl. Copying needs Linux; on other systems Copy, Verify and Digest return ErrUnsupported.
package treecopy
