// Package pipelines ships the pipeline files that come with pipectl and, embedded, the files that they point at.
//
// It holds no logic: a pipeline is data, and anything that runs one belongs to package engine.
package pipelines

import "embed"

// Files is this folder: *.yaml are pipelines, gitops/argocd is what blog.yaml applies, gitops/repo is what the Git repository of its
// gitops parameter holds.
//
//go:embed *.yaml gitops
var Files embed.FS
