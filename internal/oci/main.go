// Command oci writes container images as OCI layouts, without a container engine: what `make image` does where no Docker daemon runs.
//
// It knows the two images of the Dockerfile and nothing of pipectl's code; it is a tool of the build and is not part of the product.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// image is one target of the Dockerfile; a test holds the two descriptions together.
type image struct {
	name   string
	trees  []string
	config config
}

type config struct {
	User       string            `json:"User"`
	Env        []string          `json:"Env"`
	Entrypoint []string          `json:"Entrypoint,omitempty"`
	Cmd        []string          `json:"Cmd,omitempty"`
	WorkingDir string            `json:"WorkingDir"`
	StopSignal string            `json:"StopSignal"`
	Labels     map[string]string `json:"Labels"`
}

func images(version string) []image {
	labels := func(title string) map[string]string {
		return map[string]string{
			"org.opencontainers.image.title": title, "org.opencontainers.image.version": version, "org.opencontainers.image.licenses": "Apache-2.0",
		}
	}
	return []image{
		{"pipectl", []string{"base"}, config{
			User: "65532:65532", Env: []string{"PATH=/usr/local/bin", "HOME=/tmp"}, Entrypoint: []string{"/usr/local/bin/pipectl"},
			WorkingDir: "/workspace", StopSignal: "SIGTERM", Labels: labels("pipectl"),
		}},
		{"pipectl-jenkins", []string{"base", "busybox"}, config{
			User: "1000:1000", Env: []string{"PATH=/usr/local/bin:/bin", "HOME=/tmp"}, Cmd: []string{"pipectl", "--help"},
			WorkingDir: "/workspace", StopSignal: "SIGTERM", Labels: labels("pipectl-jenkins"),
		}},
	}
}

func main() {
	version := flag.String("version", "devel", "version of the images")
	epoch := flag.Int64("epoch", 0, "time of everything in them, seconds since 1970")
	context := flag.String("context", "dist/image", "directory with the trees base and busybox")
	out := flag.String("out", "dist/oci", "directory that receives one layout for each image")
	flag.Parse()
	done := packer{}
	for _, im := range images(*version) {
		digest, size, err := im.write(done, *context, filepath.Join(*out, im.name), *version, time.Unix(*epoch, 0).UTC())
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		fmt.Printf("%-16s %5.1f MB compressed  %s  %s\n", im.name, float64(size)/1e6, digest, filepath.Join(*out, im.name))
	}
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// write makes the layout in dir and returns the manifest's digest and the compressed size of its layers.
func (im image) write(done packer, context, dir, version string, at time.Time) (digest string, size int64, err error) {
	if err := os.RemoveAll(dir); err != nil {
		return "", 0, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return "", 0, err
	}
	var layers []descriptor
	var plain []string
	for _, tree := range im.trees {
		raw, packed, err := done.layer(filepath.Join(context, tree), at)
		if err != nil {
			return "", 0, err
		}
		d, err := blob(dir, "application/vnd.oci.image.layer.v1.tar+gzip", packed)
		if err != nil {
			return "", 0, err
		}
		layers, plain, size = append(layers, d), append(plain, sum(raw)), size+d.Size
	}
	conf, err := blobJSON(dir, "application/vnd.oci.image.config.v1+json", map[string]any{
		"created": at, "architecture": runtime.GOARCH, "os": "linux", "config": im.config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": plain},
	})
	if err != nil {
		return "", 0, err
	}
	manifest, err := blobJSON(dir, "application/vnd.oci.image.manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": conf, "layers": layers,
	})
	if err != nil {
		return "", 0, err
	}
	manifest.Platform = &platform{runtime.GOARCH, "linux"}
	manifest.Annotations = map[string]string{"org.opencontainers.image.ref.name": version}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []descriptor{manifest}})
	if err != nil {
		return "", 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644); err != nil {
		return "", 0, err
	}
	return manifest.Digest, size, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

// packer packs each tree once: both images have the big one.
type packer map[string][2][]byte

func (p packer) layer(dir string, at time.Time) (raw, packed []byte, err error) {
	if have, ok := p[dir]; ok {
		return have[0], have[1], nil
	}
	raw, packed, err = layer(dir, at)
	p[dir] = [2][]byte{raw, packed}
	return raw, packed, err
}

// layer packs a tree, the same bytes for the same files: sorted, one time, owned by root.
func layer(dir string, at time.Time) (raw, packed []byte, err error) {
	var plain, small bytes.Buffer
	z, err := gzip.NewWriterLevel(&small, gzip.BestCompression)
	if err != nil {
		return nil, nil, err
	}
	w := tar.NewWriter(io.MultiWriter(&plain, z))
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		return add(w, dir, path, d, at)
	})
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = z.Close()
	}
	return plain.Bytes(), small.Bytes(), err
}

func add(w *tar.Writer, dir, path string, d fs.DirEntry, at time.Time) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	*h = tar.Header{Typeflag: h.Typeflag, Name: filepath.ToSlash(rel), Linkname: link, Mode: h.Mode, Size: h.Size, ModTime: at, Format: tar.FormatPAX}
	if d.IsDir() {
		h.Name += "/"
	}
	if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

func blob(dir, mediaType string, b []byte) (descriptor, error) {
	d := descriptor{MediaType: mediaType, Digest: sum(b), Size: int64(len(b))}
	return d, os.WriteFile(filepath.Join(dir, "blobs", "sha256", d.Digest[len("sha256:"):]), b, 0o644)
}

func blobJSON(dir, mediaType string, v any) (descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return blob(dir, mediaType, b)
}
