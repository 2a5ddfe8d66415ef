// Package stream copies a tree between two machines over one connection. The side that has the source serves it, read-only; the side that
// has the target copies from it by treecopy.CopyFrom, with all that treecopy promises: temporary name and rename, hashes while copying, a
// manifest, a marker after one sync, and what is complete is not sent again after a connection was cut or a process killed.
//
//	err := stream.Serve(ctx, conn, tree, stream.Options{Identity: "…"})              // where the source is
//	src, err := stream.Connect(ctx, conn, stream.Options{Identity: "…"})              // where the target is
//	report, err := treecopy.CopyFrom(ctx, src, "/mnt/home", treecopy.Options{Source: "…"})
//
// # Protocol
//
// Both sides begin with a line (magic) and a greeting. Then the target's side asks, each request with an id of its own, and the source's
// side answers in any order. Answers are frames, frames are gathered in blocks while the connection is busy, and a block is compressed by
// zstd when measuring says that this saves time (see gauge). The contents of a file are sent as far as credit was given for it, so neither
// side holds more than a bounded part of it. Each side pings when it has nothing to say; a silent peer is given up.
//
// Sizes of blocks, frames and listings are bounded, and names are checked on both sides: a broken or hostile peer is an error that wraps
// treecopy.ErrLost, and reaches nothing outside of either root.
//
// # Keys
//
// Keys are of one run (NewKeys): an authority that forgets its own key, and one certificate for each side. Client and Server speak TLS 1.3
// and accept only the other side of the same run.
//
// The package must not dial, listen or know what the tree is for.
package stream
