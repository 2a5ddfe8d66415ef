package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"pipectl.dev/engine"
)

func (a *app) unlockCommand() *cli.Command {
	return &cli.Command{
		Name: "unlock", Usage: "free the locks of a run that is dead", ArgsUsage: "[FILE]",
		Description: "A run that finds a lock whose holder shows no sign of life takes it over after having watched it for a minute or two, and at once where the holder's process is known to be gone.",
		Flags: flags(fileFlags(), []cli.Flag{
			&cli.StringSliceFlag{Name: "stage", Usage: "only stage `NAME`; repeatable"},
			lockNamespaceFlag(),
			&cli.StringFlag{Name: "lock", Value: "auto", Usage: "`KIND` of lock: auto (SSM, or a Lease without AWS) or none"},
		}),
		Action: a.unlockAction,
	}
}

func (a *app) unlockAction(c *cli.Context) error {
	clients := newClients()
	p, err := a.load(c, clients.catalog(), true)
	if err != nil {
		return err
	}
	if err := p.Has(c.StringSlice("stage")...); err != nil {
		return err
	}
	clients.region = p.Region
	id, err := clients.identify(c.Context, p)
	if err != nil {
		return err
	}
	locker, err := clients.locker(c.Context, c, id)
	if err != nil || locker == nil {
		return err
	}
	wanted := map[string]bool{}
	for _, name := range c.StringSlice("stage") {
		wanted[name] = true
	}
	freed := false
	for _, s := range p.Stages {
		if len(wanted) > 0 && !wanted[s.Name] {
			continue
		}
		was, err := locker.Unlock(c.Context, engine.LockKey(id, s.Name))
		if err != nil {
			return fmt.Errorf("unlock %s: %w", s.Name, err)
		}
		if was != nil {
			freed = true
			fmt.Fprintf(a.stdout, "%s: freed, was held by %s\n", s.Name, was)
		}
	}
	if !freed {
		fmt.Fprintln(a.stderr, "nothing was locked")
	}
	return nil
}
