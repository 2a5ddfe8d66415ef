package kubelet

import "testing"

func TestRewrite(t *testing.T) {
	r := newRewriter([]mount{{"/data", "/lab/v1"}, {"/data/deep", "/lab/v2"}, {"/dev/termination-log", "/lab/log"}, {"/lab", "/never"}})
	for name, c := range map[string]struct{ in, want string }{
		"a path alone":                         {"/data", "/lab/v1"},
		"a file below":                         {"/data/a/b", "/lab/v1/a/b"},
		"the longest path wins":                {"/data/deep/x", "/lab/v2/x"},
		"a flag's value":                       {"--dir=/data", "--dir=/lab/v1"},
		"two paths in one word":                {"/data:/data/deep", "/lab/v1:/lab/v2"},
		"JSON":                                 {`{"dir":"/data"}`, `{"dir":"/lab/v1"}`},
		"a file URL":                           {"file:///data/repo", "file:///lab/v1/repo"},
		"a longer name is another path":        {"/database", "/database"},
		"a name with a dash is another path":   {"/data-old", "/data-old"},
		"a path below another stays":           {"/mnt/data", "/mnt/data"},
		"a path of a URL stays":                {"https://host/data", "https://host/data"},
		"a relative path stays":                {"./data", "./data"},
		"what was put in is not looked at":     {"/data/lab", "/lab/v1/lab"},
		"a path after a comma":                 {"a,/data,b", "a,/lab/v1,b"},
		"a slash at the end":                   {"/data/", "/lab/v1/"},
		"the end of a sentence is no boundary": {"/data.", "/data."},
		"a termination log":                    {"/dev/termination-log", "/lab/log"},
		"nothing":                              {"", ""},
	} {
		if got := r.rewrite(c.in); got != c.want {
			t.Errorf("%s: %q became %q, want %q", name, c.in, got, c.want)
		}
	}
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "B": "$(A)"}
	for name, c := range map[string]struct{ in, want string }{
		"a known name":             {"x$(A)y", "x1y"},
		"an unknown name stays":    {"$(C)", "$(C)"},
		"a doubled dollar is one":  {"$$(A)", "$(A)"},
		"a value is not looked at": {"$(B)", "$(A)"},
		"an open bracket stays":    {"$(A", "$(A"},
		"a lone dollar stays":      {"a$", "a$"},
		"a shell's variable stays": {"$A ${A}", "$A ${A}"},
		"two names":                {"$(A)$(A)", "11"},
	} {
		if got := expand(c.in, vars); got != c.want {
			t.Errorf("%s: %q became %q, want %q", name, c.in, got, c.want)
		}
	}
}
