# What people would write instead has libraries of its own: the bench makes this when it first needs them.
.venv-peers/.peers: requirements/peers.txt .venv-peers/bin/python
	$(call install,.venv-peers,$<)
	@touch $@

.venv-peers/bin/python:
	$(call create,.venv-peers)

LOCKED += requirements/peers
