"""Writes a small language model with random weights as a GGUF file, for servers that read such files.

    python3 tools/random_gguf.py OUT.gguf [SEED]

A llama of two layers over bytes: tokens are the 256 bytes and, as pieces of their own, the printable
ASCII characters. Its answers mean nothing; it exists so that a real server can be asked for chat,
schemas and log-probabilities (tools/real_server.py). The first hidden dimension is a constant, so the
first column of the output matrix is a bias: it makes quotes likely, so that strings under a grammar end,
and bare bytes unlikely. Needs the packages gguf and numpy.
"""
import sys

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, INNER, CONTEXT = 64, 2, 4, 128, 16384
CONSTANT = 8.0  # of the first hidden dimension


def pieces():
    """(text, score, type) of every token, in the order of ids."""
    kind = gguf.TokenType
    out = [("<unk>", 0.0, kind.UNKNOWN), ("<s>", 0.0, kind.CONTROL), ("</s>", 0.0, kind.CONTROL)]
    out += [("<0x%02X>" % b, 0.0, kind.BYTE) for b in range(256)]
    out += [("\u2581", -1.0, kind.NORMAL)]  # a space, as SentencePiece writes it
    out += [(chr(c), -2.0 - c / 1000, kind.NORMAL) for c in range(0x21, 0x7F)]
    return out


def bias_of(text):
    if text.startswith("<0x") or text in ("<unk>", "<s>"):
        return -6.0
    return 6.0 if text == '"' else 1.0 if text in "0123456789" else 0.0


def main():
    path, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    random = np.random.default_rng(seed)
    tokens = pieces()

    def matrix(rows, columns, scale=1.0):
        return (random.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype(np.float32)

    out = gguf.GGUFWriter(path, "llama")
    out.add_name("random")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(INNER)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_file_type(gguf.LlamaFileType.ALL_F32)
    out.add_tokenizer_model("llama")
    out.add_token_list([t for t, _, _ in tokens])
    out.add_token_scores([s for _, s, _ in tokens])
    out.add_token_types([k for _, _, k in tokens])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_add_space_prefix(False)
    embedding = matrix(len(tokens), WIDTH, 8.0)
    embedding[:, 0] = CONSTANT
    head = matrix(len(tokens), WIDTH, 2.0)
    # after the last norm the constant is about CONSTANT / sqrt(mean square)
    head[:, 0] = [bias_of(t) / np.sqrt(WIDTH) * 2.0 for t, _, _ in tokens]
    out.add_tensor("token_embd.weight", embedding)
    out.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    out.add_tensor("output.weight", head)
    for layer in range(LAYERS):
        block = "blk.%d." % layer
        for name, rows, columns in (("attn_q", WIDTH, WIDTH), ("attn_k", WIDTH, WIDTH),
                                    ("attn_v", WIDTH, WIDTH), ("attn_output", WIDTH, WIDTH),
                                    ("ffn_gate", INNER, WIDTH), ("ffn_up", INNER, WIDTH),
                                    ("ffn_down", WIDTH, INNER)):
            weight = matrix(rows, columns)
            if name in ("attn_output", "ffn_down"):
                weight[0] = 0.0  # nothing is added to the constant
            out.add_tensor(block + name + ".weight", weight)
        out.add_tensor(block + "attn_norm.weight", np.ones(WIDTH, np.float32))
        out.add_tensor(block + "ffn_norm.weight", np.ones(WIDTH, np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


main()
