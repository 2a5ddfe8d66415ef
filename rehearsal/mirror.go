package rehearsal

import (
	"net/http"
	"os/exec"
	"strings"
)

// mirror answers for remote manifests with the copies that the lab carries.
type mirror struct{ lab string }

func (m mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, mirrorPath)
	out, err := exec.CommandContext(r.Context(), m.lab, "upstream", path).Output()
	if err != nil {
		http.Error(w, "the lab has no "+path, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(out)
}
