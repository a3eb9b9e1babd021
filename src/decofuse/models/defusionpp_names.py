"""How DeFusion++'s published training networks name their tensors, those of the teachers included."""

from types import MappingProxyType

from decofuse.models.method import Upstream

UPSTREAM = Upstream(
    parts=MappingProxyType({"": ""}),
    names=MappingProxyType(
        {
            "patch_embed.proj": "embed",
            "cls_token": "class_token",
            "mask_token": "mim.mask_token",
            "mim_decoder_blocks": "mim.blocks",
            "mim_decoder_norm": "mim.norm",
            "mim_decoder_pred": "mim.predict",
            "model_encoder1": "teacher_infrared",
            "model_encoder2": "teacher_visible",
            **{
                f"{teacher}.{old}": f"{teacher}.{new}"
                for teacher in ("teacher_infrared", "teacher_visible")
                for old, new in (
                    ("embed", "encoder.embed"),
                    ("class_token", "encoder.class_token"),
                    ("blocks", "encoder.blocks"),
                    ("mim", "decoder"),
                )
            },
            "decoder_embed": "decoder.embed",
            "decoder_blocks": "decoder.blocks",
            "decoder_norm": "decoder.norm",
            "decoder_pred": "decoder.predict",
            "enc_norm1": "decomposition.norm_embedded",
            "enc_norm2": "decomposition.norm_early",
            "decoder_common_blocks.0": "decomposition.deep.common",
            "decode_common_skipconn": "decomposition.shallow.common",
            "decoder_unique_blocks.0": "decomposition.deep.unique",
            "decoder_unique_skipconn": "decomposition.shallow.unique",
            "decoder_unique_residual": "decomposition.deep.residual",
            "decoder_unique_residual_skipconn": "decomposition.shallow.residual",
            "decoder_fuse_blocks.0": "fusion.deep",
            "decoder_fuse_skipconn": "fusion.shallow",
            "recon_blocks_mim_encoder": "fusion.refine",
            **{
                f"decoder_{old}_blocks.{index}": f"head_{new}.{name}"
                for old, new in (("common", "common"), ("unique", "unique"), ("fuse", "fused"))
                for index, name in ((1, "block"), (2, "project"))
            },
            "latent_predict1": "predictors.infrared",
            "latent_predict2": "predictors.visible",
            "mm_unique_norm1": "predictors.norm_infrared",
            "mm_unique_norm2": "predictors.norm_visible",
            "attn.qkv": "qkv",
            "attn.proj": "project",
            "mlp.fc1": "expand",
            "mlp.fc2": "reduce",
            "multi_input_self_attn.multihead_attn": "attention",
            "multi_input_self_attn": "",
            "linear1": "expand",
            "linear2": "reduce",
        }
    ),
    unused=("*pos_embed", "encoder.norm.*"),
)
